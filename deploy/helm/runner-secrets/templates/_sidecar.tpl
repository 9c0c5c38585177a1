{{/* What `pod_spec` of the runner's kubernetes executor merges into each job's pod: the daemon before
the job's own containers, and the client and the socket where the job finds them. */}}
{{- define "runner-secrets.sidecar" -}}
{{- $values := .Values -}}
{{- $sources := include "runner-secrets.sources" . | fromYaml -}}
initContainers:
  - name: runner-secrets-client
    image: {{ $values.sidecar.clientImage }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    # Its owner is the daemon's user then, to whom alone the client sends a token.
    command: [cp, /opt/runner-secrets/runner-secrets, /run/runner-secrets/runner-secrets]
    {{- include "runner-secrets.restricted" . | nindent 4 }}
    resources:
      requests: {cpu: 10m, memory: 16Mi}
      limits: {memory: 32Mi}
    volumeMounts:
      - {name: runner-secrets, mountPath: /run/runner-secrets}
  - name: runner-secretsd
    image: {{ include "runner-secrets.image" . }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    # A sidecar: started before the job's containers, ended after them.
    restartPolicy: Always
    args: [serve, --config, /etc/runner-secrets/config/config.toml]
    {{- include "runner-secrets.restricted" . | nindent 4 }}
    # The job's containers wait for it, but not for the trail: jobs without secrets do not need it.
    startupProbe:
      httpGet: {path: /livez, port: {{ $values.admin.port }}}
      periodSeconds: 1
      failureThreshold: 30
    resources:
      {{- toYaml $values.sidecar.resources | nindent 6 }}
    volumeMounts:
      - {name: runner-secrets, mountPath: /run/runner-secrets}
      {{- range $name, $source := $sources }}
      - {name: runner-secrets-{{ $name }}, mountPath: /etc/runner-secrets/{{ $name }}, readOnly: true}
      {{- end }}
containers:
  - name: build
    volumeMounts:
      - {name: runner-secrets, mountPath: /run/runner-secrets, readOnly: true}
      # The runtime's own /dev/shm is every container's of the pod.
      - {name: runner-secrets-files, mountPath: /dev/shm}
volumes:
  - name: runner-secrets
    emptyDir: {medium: Memory, sizeLimit: 8Mi}
  - name: runner-secrets-files
    emptyDir: {medium: Memory, sizeLimit: 64Mi}
  {{- range $name, $source := $sources }}
  - name: runner-secrets-{{ $name }}
    {{- toYaml $source | nindent 4 }}
  {{- end }}
{{- end }}
