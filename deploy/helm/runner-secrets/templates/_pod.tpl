{{/* The pod, which a Deployment and a StatefulSet have in common. */}}
{{- define "runner-secrets.pod" -}}
{{- $values := .Values -}}
{{- $volume := eq $values.audit.store "volume" -}}
{{- $sources := include "runner-secrets.sources" . | fromYaml -}}
metadata:
  labels:
    {{- include "runner-secrets.selector" . | nindent 4 }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ include "runner-secrets.config" . | sha256sum }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "runner-secrets.serviceAccount" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
  securityContext:
    runAsNonRoot: true
    # Lets the daemon read its keys and its volume. Only the first time: the files of a trail that
    # another group may write to are refused.
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $volume }}
  initContainers:
    - name: audit-directory
      image: {{ $values.audit.volume.initImage }}
      command: [mkdir, -p, -m, "0700", /var/lib/runner-secrets/audit]
      {{- include "runner-secrets.restricted" . | nindent 6 }}
      resources:
        requests: {cpu: 10m, memory: 16Mi}
        limits: {memory: 32Mi}
      volumeMounts:
        - {name: audit, mountPath: /var/lib/runner-secrets}
  {{- end }}
  containers:
    - name: runner-secretsd
      image: {{ include "runner-secrets.image" . }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args: [serve, --config, /etc/runner-secrets/config/config.toml]
      {{- include "runner-secrets.restricted" . | nindent 6 }}
      {{- with $values.extraEnv }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        {{- range $name := list "gateway" "grpc" }}
        {{- $part := index $values $name }}
        {{- if $part.enabled }}
        - {name: {{ $name }}, containerPort: {{ $part.port }}}
        {{- end }}
        {{- end }}
        - {name: admin, containerPort: {{ $values.admin.port }}}
      livenessProbe:
        httpGet: {path: /livez, port: admin}
        periodSeconds: 10
        failureThreshold: 3
      readinessProbe:
        httpGet: {path: /readyz, port: admin}
        periodSeconds: 5
        failureThreshold: 2
      lifecycle:
        preStop:
          # Until nobody is sent here any more.
          sleep: {seconds: 5}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      volumeMounts:
        {{- range $name, $source := $sources }}
        - {name: {{ $name }}, mountPath: /etc/runner-secrets/{{ $name }}, readOnly: true}
        {{- end }}
        {{- if $volume }}
        - {name: audit, mountPath: /var/lib/runner-secrets}
        {{- end }}
  volumes:
    {{- range $name, $source := $sources }}
    - name: {{ $name }}
      {{- toYaml $source | nindent 6 }}
    {{- end }}
  {{- if gt (int $values.replicas) 1 }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "runner-secrets.selector" . | nindent 10 }}
  {{- end }}
  {{- range $key := list "nodeSelector" "tolerations" "affinity" }}
  {{- with index $values $key }}
  {{ $key }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
{{- end }}

{{/* What the restricted standard asks of a container, and a root that cannot be written to. */}}
{{- define "runner-secrets.restricted" -}}
securityContext:
  runAsNonRoot: true
  # The image's user.
  runAsUser: 65532
  runAsGroup: 65532
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{/* What lies below /etc/runner-secrets: volumes by their name, which is their directory's, too. */}}
{{- define "runner-secrets.sources" -}}
{{- $values := .Values -}}
config:
  configMap: {name: {{ include "runner-secrets.fullname" . }}}
{{- range $part := list "gateway" "grpc" }}
{{- if include "runner-secrets.hasTls" (list $ $part) }}
{{ $part }}-tls:
  secret: {secretName: {{ include "runner-secrets.tlsSecret" (list $ $part) }}, defaultMode: 0440}
{{- end }}
{{- end }}
{{- $clients := ternary $values.grpc.clientCa.configMap "" $values.grpc.enabled }}
{{- $syslog := ternary $values.audit.syslog.ca.configMap "" (ne $values.audit.syslog.server "") }}
{{- range $name, $configMap := dict "gitlab-ca" $values.gitlabCa.configMap "azure-ca" $values.azureCa.configMap "client-ca" $clients "syslog-ca" $syslog }}
{{- if $configMap }}
{{ $name }}:
  configMap: {name: {{ $configMap }}}
{{- end }}
{{- end }}
{{- with $values.audit.signingKey.secretName }}
audit-key:
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- end }}
