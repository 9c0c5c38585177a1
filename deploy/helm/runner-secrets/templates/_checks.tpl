{{/* What values.schema.json cannot say: how values go together. */}}
{{- define "runner-secrets.checks" -}}
{{- $values := .Values }}
{{- $syslog := eq $values.audit.store "syslog" }}
{{- if and $syslog (not $values.audit.syslog.server) }}
{{- fail "audit.store: syslog needs audit.syslog.server, as tls://logs.example.com:6514" }}
{{- end }}
{{- if $values.sidecar.enabled }}
{{- if include "runner-secrets.serves" . }}
{{- fail "sidecar.enabled needs a release of its own: disable gateway and grpc here" }}
{{- end }}
{{- if not $values.sidecar.clientImage }}
{{- fail "sidecar.enabled needs sidecar.clientImage" }}
{{- end }}
{{- if not $syslog }}
{{- fail "sidecar.enabled needs audit.store: syslog: a volume would go with the job's pod" }}
{{- end }}
{{- if $values.audit.signingKey.secretName }}
{{- fail "audit.signingKey is not for job pods: leave it out with sidecar.enabled" }}
{{- end }}
{{- else if not (include "runner-secrets.serves" .) }}
{{- fail "nothing is enabled: set gateway.enabled, grpc.enabled or sidecar.enabled" }}
{{- end }}
{{- range $part := list "gateway" "grpc" }}
{{- $tls := (index $values $part).tls }}
{{- if and (include "runner-secrets.hasTls" (list $ $part)) (not $tls.secretName) (not $tls.certManager.enabled) }}
{{- fail (printf "%s.tls needs a certificate: set secretName, or certManager.enabled" $part) }}
{{- end }}
{{- end }}
{{- if $values.networkPolicy.enabled }}
{{- range $name, $asked := dict "gateway" $values.gateway.enabled "grpc" $values.grpc.enabled "admin" $values.serviceMonitor.enabled }}
{{- if and $asked (not (index $values.networkPolicy $name)) }}
{{- fail (printf "networkPolicy.%s admits nobody: say who may come" $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Whether something runs here. */}}
{{- define "runner-secrets.serves" -}}
{{- if or .Values.gateway.enabled .Values.grpc.enabled }}true{{ end }}
{{- end }}
