{{/* The daemon's configuration. */}}
{{- define "runner-secrets.config" -}}
{{- $values := .Values -}}
{{- $etc := "/etc/runner-secrets" -}}
{{- if $values.sidecar.enabled }}
{{- $listen := dict "socket" "/run/runner-secrets/api/api.sock" "socket_mode" "0666" "delivery" "inline" }}
[[listen]]
{{- include "runner-secrets.toml.keys" $listen }}
{{ end }}
{{- if $values.grpc.enabled }}
{{- $listen := dict "address" (include "runner-secrets.address" (list . $values.grpc.port)) "tls_cert" (printf "%s/grpc-tls/tls.crt" $etc) "tls_key" (printf "%s/grpc-tls/tls.key" $etc) }}
{{- with $values.grpc.clientCa }}{{ if .configMap }}{{ $_ := set $listen "client_ca" (printf "%s/client-ca/%s" $etc .key) }}{{ end }}{{ end }}
[[listen]]
{{- include "runner-secrets.toml.keys" (merge $listen $values.grpc.settings) }}
{{ end }}
{{- if $values.gateway.enabled }}
{{- $gateway := dict "listen" (include "runner-secrets.address" (list . $values.gateway.port)) "gitlab_url" $values.gateway.gitlabUrl "connect" (eq $values.gateway.mode "connect") "strip_id_tokens" $values.gateway.stripIdTokens }}
{{- if include "runner-secrets.hasTls" (list . "gateway") }}
{{- $_ := set $gateway "tls_cert" (printf "%s/gateway-tls/tls.crt" $etc) }}
{{- $_ := set $gateway "tls_key" (printf "%s/gateway-tls/tls.key" $etc) }}
{{- end }}
{{- with $values.gitlabCa }}{{ if .configMap }}{{ $_ := set $gateway "ca_file" (printf "%s/gitlab-ca/%s" $etc .key) }}{{ end }}{{ end }}
[[gateway]]
{{- include "runner-secrets.toml.keys" (merge $gateway $values.gateway.settings) }}
{{ end }}
[admin]
listen = {{ include "runner-secrets.address" (list . $values.admin.port) | quote }}
{{ $audit := dict "path" "/var/lib/runner-secrets/audit/audit.jsonl" }}
{{- if eq $values.audit.store "syslog" }}
{{- $audit = dict "file" false "durable" "syslog" }}
{{- end }}
{{- with $values.audit.syslog }}{{ if .server }}
{{- $_ := set $audit "syslog" .server }}
{{- if .ca.configMap }}{{ $_ := set $audit "syslog_ca_file" (printf "%s/syslog-ca/%s" $etc .ca.key) }}{{ end }}
{{- end }}{{ end }}
{{- with $values.audit.signingKey }}{{ if .secretName }}{{ $_ := set $audit "signing_key" (printf "%s/audit-key/%s" $etc .key) }}{{ end }}{{ end }}
[audit]
{{- include "runner-secrets.toml.keys" (merge $audit $values.config.audit) }}
{{ $azure := dict }}
{{- with $values.azureCa }}{{ if .configMap }}{{ $_ := set $azure "ca_file" (printf "%s/azure-ca/%s" $etc .key) }}{{ end }}{{ end }}
{{- $tables := dict "azure" (merge $azure $values.config.azure) "policy" $values.config.policy "limits" $values.config.limits "log" $values.config.log }}
{{- range $name, $table := $tables }}{{ if $table }}
[{{ $name }}]
{{- include "runner-secrets.toml.keys" $table }}
{{ end }}{{ end }}
{{- range $values.config.issuer }}
{{- $issuer := deepCopy . }}
{{- with $values.gitlabCa }}{{ if .configMap }}{{ $_ := set $issuer "ca_file" (printf "%s/gitlab-ca/%s" $etc .key) }}{{ end }}{{ end }}
[[issuer]]
{{- include "runner-secrets.toml.keys" $issuer }}
{{ end }}
{{- range $values.config.rule }}
[[rule]]
{{- include "runner-secrets.toml.keys" . }}
{{ end }}
{{- end }}

{{/* Where something listens: (list $ port) */}}
{{- define "runner-secrets.address" -}}
{{ (index . 0).Values.listenAddress }}:{{ index . 1 | int }}
{{- end }}

{{/* The keys of a table, a line each. */}}
{{- define "runner-secrets.toml.keys" -}}
{{- range $key := keys . | sortAlpha }}
{{ $key }} = {{ include "runner-secrets.toml.value" (get $ $key) }}
{{- end }}
{{- end }}

{{/* A value as TOML writes it, on one line. To Helm, all numbers of a values file are floating-point. */}}
{{- define "runner-secrets.toml.value" -}}
{{- if kindIs "map" . -}}
{ {{ range $index, $key := keys . | sortAlpha }}{{ if $index }}, {{ end }}{{ $key | toRawJson }} = {{ include "runner-secrets.toml.value" (get $ $key) }}{{ end }} }
{{- else if kindIs "slice" . -}}
[{{ range $index, $item := . }}{{ if $index }}, {{ end }}{{ include "runner-secrets.toml.value" $item }}{{ end }}]
{{- else if kindIs "string" . -}}
{{ . | toRawJson }}
{{- else if kindIs "bool" . -}}
{{ . }}
{{- else -}}
{{ . | int64 }}
{{- end -}}
{{- end }}
