{{/* Names and labels. */}}
{{- define "runner-secrets.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "runner-secrets.fullname" -}}
{{- $name := include "runner-secrets.name" . -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}
{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "runner-secrets.selector" -}}
app.kubernetes.io/name: {{ include "runner-secrets.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "runner-secrets.labels" -}}
{{ include "runner-secrets.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "runner-secrets.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (ternary (include "runner-secrets.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- define "runner-secrets.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* The Secret with a certificate: (list $ "gateway") */}}
{{- define "runner-secrets.tlsSecret" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
{{- $tls := (index $root.Values $part).tls -}}
{{ $tls.secretName | default (printf "%s-%s-tls" (include "runner-secrets.fullname" $root) $part) }}
{{- end }}

{{/* Whether there is a certificate for a part. */}}
{{- define "runner-secrets.hasTls" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
{{- $values := index $root.Values $part -}}
{{- if and $values.enabled (ne ($values.mode | default "") "http") -}}true{{- end -}}
{{- end }}

{{/* The Service's names. */}}
{{- define "runner-secrets.serviceNames" -}}
{{- $name := include "runner-secrets.fullname" . -}}
- {{ $name }}
- {{ $name }}.{{ .Release.Namespace }}
- {{ $name }}.{{ .Release.Namespace }}.svc
- {{ $name }}.{{ .Release.Namespace }}.svc.cluster.local
{{- end }}
