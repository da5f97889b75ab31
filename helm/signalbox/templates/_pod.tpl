{{/* Parts of a pod: (dict "root" $ "name" SERVICE "values" VALUES). */}}

{{- define "signalbox.workloadKind" -}}
{{ ternary "StatefulSet" "Deployment" (and (eq "true" (include "signalbox.keepsState" .)) .values.persistence.enabled) }}
{{- end }}

{{- define "signalbox.env" -}}
env:
  - name: POD_NAME
    valueFrom: { fieldRef: { fieldPath: metadata.name } }
  - name: POD_IP
    valueFrom: { fieldRef: { fieldPath: status.podIP } }
  {{- if eq .name "gateway" }}
  # Allowances are held per replica: a stable name keeps them over a restart.
  - name: SIGNALBOX__GATEWAY__REPLICA
    value: $(POD_NAME)
  {{- end }}
  {{- if eq .root.Values.discovery.by "consul" }}
  - name: SIGNALBOX__MESH__ADVERTISE
    value: $(POD_IP):{{ include "signalbox.port" .name }}
  {{- end }}
  {{- with .values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- $from := list -}}
{{- if eq .name "executor" -}}
{{- range .root.Values.secrets.providers -}}{{- $from = append $from (dict "secretRef" (dict "name" .)) -}}{{- end -}}
{{- end -}}
{{- with concat $from .values.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Kubernetes' gRPC probe speaks no TLS; with it the binary asks itself. */}}
{{- define "signalbox.probes" -}}
{{- $gateway := eq .name "gateway" -}}
{{- $door := .root.Values.services.gateway.tls -}}
{{- $tls := ternary (not (empty $door.secretName)) .root.Values.tls.enabled $gateway -}}
{{- $ready := "" -}}
{{- if and $gateway $tls (eq $door.clientCertificates "required") -}}
{{- /* No probe has a client's certificate. */ -}}
{{- $ready = "tcpSocket: { port: grpc }" -}}
{{- else if $gateway -}}
{{- $ready = printf "httpGet: { path: /readyz, port: grpc, scheme: %s }" (ternary "HTTPS" "HTTP" $tls) -}}
{{- else if $tls -}}
{{- $ready = printf "exec: { command: [/usr/local/bin/signalbox-%s, --config, /etc/signalbox/config/signalbox.toml, --health] }" .name -}}
{{- else -}}
{{- $ready = printf "grpc: { port: %s }" (include "signalbox.port" .name) -}}
{{- end -}}
startupProbe:
  {{ $ready }}
  periodSeconds: 2
  failureThreshold: 60
  timeoutSeconds: 3
readinessProbe:
  {{ $ready }}
  periodSeconds: 5
  failureThreshold: 2
  timeoutSeconds: 3
livenessProbe:
  {{- if contains "/readyz" $ready }}
  {{ replace "/readyz" "/healthz" $ready }}
  {{- else }}
  # That it is not ready is no reason to end it.
  tcpSocket: { port: grpc }
  {{- end }}
  periodSeconds: 10
  failureThreshold: 6
  timeoutSeconds: 3
{{- end }}

{{/* Secrets that a service reads, as a JSON list of name, path, secret, items. */}}
{{- define "signalbox.secretMounts" -}}
{{- $v := .root.Values -}}
{{- $mounts := list -}}
{{- $wanted := list -}}
{{- if eq $v.backends.mode "shared" -}}
{{- if has .name (list "cache" "router" "executor" "metering") -}}{{- $wanted = append $wanted (list "redis" $v.redis.secret "url") -}}{{- end -}}
{{- if and (eq .name "cache") $v.qdrant.url -}}{{- $wanted = append $wanted (list "qdrant" $v.qdrant.secret "api-key") -}}{{- end -}}
{{- end -}}
{{- if eq .name "metering" -}}{{- $wanted = append $wanted (list "admin" $v.secrets.adminKey "admin-key") -}}{{- end -}}
{{- if eq .name "guard" -}}{{- $wanted = append $wanted (list "seal" $v.secrets.sealKeys "seal-keys") -}}{{- end -}}
{{- if eq .name "cache" -}}{{- $wanted = append $wanted (list "cache" $v.secrets.cacheKeys "cache-keys") -}}{{- end -}}
{{- if $v.telemetry.otlp.endpoint -}}{{- $wanted = append $wanted (list "otlp" $v.secrets.otlpHeaders "headers") -}}{{- end -}}
{{- if eq $v.discovery.by "consul" -}}{{- $wanted = append $wanted (list "consul" $v.consul.secret "token") -}}{{- end -}}
{{- range $wanted -}}
{{- $name := index . 0 -}}{{- $secret := index . 1 -}}{{- $file := index . 2 -}}
{{- if $secret.name -}}
{{- $items := list (dict "key" $secret.key "path" $file) -}}
{{- $mounts = append $mounts (dict "name" $name "path" (printf "/etc/signalbox/%s" $name) "secret" $secret.name "items" $items) -}}
{{- end -}}
{{- end -}}
{{- if $v.tls.enabled -}}
{{- $mounts = append $mounts (dict "name" "tls" "path" "/etc/signalbox/tls" "secret" (include "signalbox.tlsSecret" .)) -}}
{{- end -}}
{{- if and (eq .name "gateway") $v.services.gateway.tls.secretName -}}
{{- $mounts = append $mounts (dict "name" "door" "path" "/etc/signalbox/door" "secret" $v.services.gateway.tls.secretName) -}}
{{- end -}}
{{ toJson $mounts }}
{{- end }}
