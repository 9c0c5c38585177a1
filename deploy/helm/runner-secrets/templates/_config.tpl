{{/* The daemon's configuration: its tables, each with its header and its keys. */}}
{{- define "runner-secrets.config" -}}
{{- $values := .Values -}}
{{- $own := $values.config -}}
{{- $gitlabCa := include "runner-secrets.file" (list "gitlab-ca" $values.gitlabCa) -}}
{{- $tables := list -}}
{{- if $values.sidecar.enabled }}
{{- $listen := dict "socket" "/run/runner-secrets/api/api.sock" "socket_mode" "0666" "delivery" "inline" }}
{{- $tables = append $tables (list "[[listen]]" $listen) }}
{{- end }}
{{- with $values.grpc }}{{ if .enabled }}
{{- $listen := dict "address" (include "runner-secrets.address" (list $ .port)) }}
{{- $_ := set $listen "tls_cert" "/etc/runner-secrets/grpc-tls/tls.crt" }}
{{- $_ := set $listen "tls_key" "/etc/runner-secrets/grpc-tls/tls.key" }}
{{- $_ := set $listen "client_ca" (include "runner-secrets.file" (list "client-ca" .clientCa)) }}
{{- $tables = append $tables (list "[[listen]]" (merge $listen .settings)) }}
{{- end }}{{ end }}
{{- with $values.gateway }}{{ if .enabled }}
{{- $gateway := dict "listen" (include "runner-secrets.address" (list $ .port)) "gitlab_url" .gitlabUrl }}
{{- $_ := set $gateway "connect" (eq .mode "connect") }}
{{- $_ := set $gateway "strip_id_tokens" .stripIdTokens }}
{{- $_ := set $gateway "ca_file" $gitlabCa }}
{{- if include "runner-secrets.hasTls" (list $ "gateway") }}
{{- $_ := set $gateway "tls_cert" "/etc/runner-secrets/gateway-tls/tls.crt" }}
{{- $_ := set $gateway "tls_key" "/etc/runner-secrets/gateway-tls/tls.key" }}
{{- end }}
{{- $tables = append $tables (list "[[gateway]]" (merge $gateway .settings)) }}
{{- end }}{{ end }}
{{- $tables = append $tables (list "[admin]" (dict "listen" (include "runner-secrets.address" (list $ $values.admin.port)))) }}
{{- with $values.audit }}
{{- $audit := dict "path" "/var/lib/runner-secrets/audit/audit.jsonl" }}
{{- if eq .store "syslog" }}{{ $audit = dict "file" false "durable" "syslog" }}{{ end }}
{{- if .syslog.server }}
{{- $_ := set $audit "syslog" .syslog.server }}
{{- $_ := set $audit "syslog_ca_file" (include "runner-secrets.file" (list "syslog-ca" .syslog.ca)) }}
{{- end }}
{{- if .signingKey.secretName }}{{ $_ := set $audit "signing_key" (printf "/etc/runner-secrets/audit-key/%s" .signingKey.key) }}{{ end }}
{{- $tables = append $tables (list "[audit]" (merge $audit $own.audit)) }}
{{- end }}
{{- $azure := merge (dict "ca_file" (include "runner-secrets.file" (list "azure-ca" $values.azureCa))) $own.azure }}
{{- $tables = concat $tables (list (list "[azure]" $azure) (list "[limits]" $own.limits) (list "[log]" $own.log) (list "[policy]" $own.policy)) }}
{{- range $own.issuer }}
{{- $tables = append $tables (list "[[issuer]]" (merge (dict "ca_file" $gitlabCa) .)) }}
{{- end }}
{{- range $own.rule }}{{ $tables = append $tables (list "[[rule]]" .) }}{{ end }}
{{- range $tables }}{{ include "runner-secrets.toml.table" . }}{{ end }}
{{- end }}

{{/* Where something listens: (list $ port) */}}
{{- define "runner-secrets.address" -}}
{{ (index . 0).Values.listenAddress }}:{{ index . 1 | int }}
{{- end }}

{{/* The path of an authority's certificates, empty without one: (list volume authority) */}}
{{- define "runner-secrets.file" -}}
{{- with index . 1 }}{{ if .configMap }}/etc/runner-secrets/{{ index $ 0 }}/{{ .key }}{{ end }}{{ end }}
{{- end }}

{{/* A table, a line for each key that has something: (list header keys) */}}
{{- define "runner-secrets.toml.table" -}}
{{- $lines := list }}
{{- range $key, $value := index . 1 }}
{{- if ne (toString $value) "" }}
{{- $lines = append $lines (printf "%s = %s" $key (include "runner-secrets.toml.value" $value)) }}
{{- end }}
{{- end }}
{{- if $lines }}
{{ index . 0 }}
{{ join "\n" $lines }}
{{ end }}
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
