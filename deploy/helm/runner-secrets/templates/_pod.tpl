{{/* The pod, which a Deployment and a StatefulSet have in common. */}}
{{- define "runner-secrets.pod" -}}
{{- $values := .Values -}}
metadata:
  labels:
    {{- include "runner-secrets.selector" . | nindent 4 }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    {{- if not $values.existingConfigMap }}
    checksum/config: {{ include "runner-secrets.config" . | sha256sum }}
    {{- end }}
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
    runAsUser: 65532
    runAsGroup: 65532
    # Lets the daemon read its keys and its volume. Only the first time: the files of a trail that
    # another group may write to are refused.
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if eq $values.audit.store "volume" }}
  initContainers:
    - name: audit-directory
      image: {{ $values.audit.volume.initImage }}
      command: [mkdir, -p, -m, "0700", /var/lib/runner-secrets/audit]
      {{- include "runner-secrets.container" . | nindent 6 }}
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
      {{- include "runner-secrets.container" . | nindent 6 }}
      {{- with $values.extraEnv }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        {{- if $values.gateway.enabled }}
        - {name: gateway, containerPort: {{ $values.gateway.port }}}
        {{- end }}
        {{- if $values.grpc.enabled }}
        - {name: grpc, containerPort: {{ $values.grpc.port }}}
        {{- end }}
        - {name: admin, containerPort: {{ $values.admin.port }}}
      livenessProbe:
        httpGet: {path: /livez, port: admin}
        periodSeconds: 10
        failureThreshold: 3
      readinessProbe:
        httpGet: {path: /readyz, port: admin}
        periodSeconds: 5
        failureThreshold: 1
      lifecycle:
        preStop:
          # Until nobody is sent here any more.
          sleep: {seconds: 5}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      volumeMounts:
        - {name: config, mountPath: /etc/runner-secrets/config, readOnly: true}
        {{- if include "runner-secrets.hasTls" (list . "gateway") }}
        - {name: gateway-tls, mountPath: /etc/runner-secrets/gateway-tls, readOnly: true}
        {{- end }}
        {{- if include "runner-secrets.hasTls" (list . "grpc") }}
        - {name: grpc-tls, mountPath: /etc/runner-secrets/grpc-tls, readOnly: true}
        {{- end }}
        {{- range $name, $ca := include "runner-secrets.authorities" . | fromYaml }}
        - {name: {{ $name }}, mountPath: /etc/runner-secrets/{{ $name }}, readOnly: true}
        {{- end }}
        {{- if $values.audit.signingKey.secretName }}
        - {name: audit-key, mountPath: /etc/runner-secrets/audit-key, readOnly: true}
        {{- end }}
        {{- if eq $values.audit.store "volume" }}
        - {name: audit, mountPath: /var/lib/runner-secrets}
        {{- end }}
  volumes:
    - name: config
      configMap: {name: {{ include "runner-secrets.configMap" . }}}
    {{- if include "runner-secrets.hasTls" (list . "gateway") }}
    - name: gateway-tls
      secret: {secretName: {{ include "runner-secrets.tlsSecret" (list . "gateway") }}, defaultMode: 0440}
    {{- end }}
    {{- if include "runner-secrets.hasTls" (list . "grpc") }}
    - name: grpc-tls
      secret: {secretName: {{ include "runner-secrets.tlsSecret" (list . "grpc") }}, defaultMode: 0440}
    {{- end }}
    {{- range $name, $configMap := include "runner-secrets.authorities" . | fromYaml }}
    - name: {{ $name }}
      configMap: {name: {{ $configMap }}}
    {{- end }}
    {{- with $values.audit.signingKey.secretName }}
    - name: audit-key
      secret: {secretName: {{ . }}, defaultMode: 0440}
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
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* What the restricted standard asks of a container, and a root that cannot be written to. */}}
{{- define "runner-secrets.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* The ConfigMaps with authorities, by the name of their volume. */}}
{{- define "runner-secrets.authorities" -}}
{{- if .Values.gitlabCa.configMap }}
gitlab-ca: {{ .Values.gitlabCa.configMap }}
{{- end }}
{{- if and .Values.grpc.enabled .Values.grpc.clientCa.configMap }}
client-ca: {{ .Values.grpc.clientCa.configMap }}
{{- end }}
{{- if and .Values.audit.syslog.server .Values.audit.syslog.ca.configMap }}
syslog-ca: {{ .Values.audit.syslog.ca.configMap }}
{{- end }}
{{- end }}
