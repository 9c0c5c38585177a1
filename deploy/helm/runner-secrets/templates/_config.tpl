{{/* A value as TOML writes it, on one line. Numbers of a values file are floating-point to Helm. */}}
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

{{/* The keys of a table, a line each. */}}
{{- define "runner-secrets.toml.keys" -}}
{{- range $key := keys . | sortAlpha }}
{{ $key }} = {{ include "runner-secrets.toml.value" (get $ $key) }}
{{- end }}
{{- end }}

{{- define "runner-secrets.config" -}}
{{- $values := .Values -}}
{{- if $values.grpc.enabled }}
{{- $listen := dict "address" (printf "%s:%d" $values.listenAddress (int $values.grpc.port)) "delivery" "inline" "tls_cert" "/etc/runner-secrets/grpc-tls/tls.crt" "tls_key" "/etc/runner-secrets/grpc-tls/tls.key" }}
{{- if $values.grpc.clientCa.configMap }}
{{- $_ := set $listen "client_ca" (printf "/etc/runner-secrets/client-ca/%s" $values.grpc.clientCa.key) }}
{{- end }}
[[listen]]
{{- include "runner-secrets.toml.keys" (merge $listen $values.grpc.settings) }}
{{ end }}
{{- if $values.gateway.enabled }}
{{- $gateway := dict "listen" (printf "%s:%d" $values.listenAddress (int $values.gateway.port)) "gitlab_url" $values.gateway.gitlabUrl "connect" (eq $values.gateway.mode "connect") "strip_id_tokens" $values.gateway.stripIdTokens }}
{{- if ne $values.gateway.mode "http" }}
{{- $_ := set $gateway "tls_cert" "/etc/runner-secrets/gateway-tls/tls.crt" }}
{{- $_ := set $gateway "tls_key" "/etc/runner-secrets/gateway-tls/tls.key" }}
{{- end }}
{{- if $values.gitlabCa.configMap }}
{{- $_ := set $gateway "ca_file" (printf "/etc/runner-secrets/gitlab-ca/%s" $values.gitlabCa.key) }}
{{- end }}
[[gateway]]
{{- include "runner-secrets.toml.keys" (merge $gateway $values.gateway.settings) }}
{{ end }}
[admin]
listen = {{ printf "%s:%d" $values.listenAddress (int $values.admin.port) | quote }}
{{ $audit := dict }}
{{- if eq $values.audit.store "volume" }}
{{- $_ := set $audit "path" "/var/lib/runner-secrets/audit/audit.jsonl" }}
{{- else }}
{{- $_ := set $audit "file" false }}
{{- $_ := set $audit "durable" "syslog" }}
{{- end }}
{{- if $values.audit.syslog.server }}
{{- $_ := set $audit "syslog" $values.audit.syslog.server }}
{{- if $values.audit.syslog.ca.configMap }}
{{- $_ := set $audit "syslog_ca_file" (printf "/etc/runner-secrets/syslog-ca/%s" $values.audit.syslog.ca.key) }}
{{- end }}
{{- end }}
{{- if $values.audit.signingKey.secretName }}
{{- $_ := set $audit "signing_key" (printf "/etc/runner-secrets/audit-key/%s" $values.audit.signingKey.key) }}
{{- end }}
[audit]
{{- include "runner-secrets.toml.keys" (merge $audit $values.config.audit) }}
{{ range $table := list "azure" "policy" "limits" "log" }}
{{- with index $values.config $table }}
[{{ $table }}]
{{- include "runner-secrets.toml.keys" . }}
{{ end }}
{{- end }}
{{- range $issuer := $values.config.issuer }}
{{- $own := dict }}
{{- if $values.gitlabCa.configMap }}
{{- $_ := set $own "ca_file" (printf "/etc/runner-secrets/gitlab-ca/%s" $values.gitlabCa.key) }}
{{- end }}
[[issuer]]
{{- include "runner-secrets.toml.keys" (merge (dict) $issuer $own) }}
{{ end }}
{{- range $rule := $values.config.rule }}
[[rule]]
{{- include "runner-secrets.toml.keys" $rule }}
{{ end }}
{{- end }}
