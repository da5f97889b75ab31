{{/* Refuses values that fit the schema and cannot work, with what to change. */}}

{{- define "signalbox.validate" -}}
{{- $v := .Values -}}
{{- if eq $v.backends.mode "shared" -}}
{{- if eq (empty $v.redis.url) (empty $v.redis.secret.name) -}}{{- fail "backends.mode is shared: set exactly one of redis.url and redis.secret.name" -}}{{- end -}}
{{- if contains "@" $v.redis.url -}}{{- fail "redis.url holds a password: put the address into a Secret and name it in redis.secret" -}}{{- end -}}
{{- end -}}
{{- if and (eq $v.discovery.by "consul") (empty $v.consul.address) -}}{{- fail "discovery.by is consul: set consul.address" -}}{{- end -}}
{{- if and $v.tls.certManager.enabled (not $v.tls.enabled) -}}{{- fail "tls.certManager.enabled makes certificates that nothing uses: set tls.enabled" -}}{{- end -}}
{{- if and $v.tls.certManager.enabled (empty $v.tls.certManager.issuerRef.name) -}}{{- fail "tls.certManager.enabled: name the issuer in tls.certManager.issuerRef.name" -}}{{- end -}}
{{- if and $v.tls.secretName (not (contains "SERVICE" $v.tls.secretName)) -}}{{- fail "tls.secretName: write SERVICE where the service's name stands, so that each has a certificate of its own" -}}{{- end -}}
{{- range $name := splitList " " (include "signalbox.services" .) -}}
{{- $s := include "signalbox.of" (dict "root" $ "name" $name) | fromYaml -}}
{{- $args := dict "root" $ "name" $name "values" $s -}}
{{- if $s.enabled -}}
{{- if and (include "signalbox.single" $args) (or (gt (int $s.replicas) 1) $s.autoscaling.enabled) -}}
{{- fail (printf "services.%s keeps its state embedded and runs as one replica: leave replicas at 1 and autoscaling off, or set backends.mode to shared" $name) -}}
{{- end -}}
{{- if and (eq $name "guard") (empty $v.secrets.sealKeys.name) (or (gt (int $s.replicas) 1) $s.autoscaling.enabled) -}}
{{- fail "services.guard has more than one replica: they need the same seal keys, name their Secret in secrets.sealKeys.name (docs/deploy.md)" -}}
{{- end -}}
{{- if and $s.autoscaling.enabled (eq 0 (int $s.autoscaling.cpuPercent)) (eq 0 (int $s.autoscaling.inFlight)) -}}
{{- fail (printf "services.%s.autoscaling looks at nothing: set cpuPercent or inFlight" $name) -}}
{{- end -}}
{{- if gt (int $s.autoscaling.minReplicas) (int $s.autoscaling.maxReplicas) -}}
{{- fail (printf "services.%s.autoscaling: minReplicas is above maxReplicas" $name) -}}
{{- end -}}
{{- else if and (ne $name "gateway") $v.services.gateway.enabled (empty $s.peers) -}}
{{- fail (printf "services.%s is not enabled: give the gateway its addresses in services.%s.peers" $name $name) -}}
{{- end -}}
{{- end -}}
{{- end }}
