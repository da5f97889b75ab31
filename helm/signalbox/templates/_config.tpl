{{/* The configuration that the chart writes by itself, with .Values.config laid over it. As YAML. */}}

{{- define "signalbox.config" -}}
{{- $v := .Values -}}
{{- $etc := "/etc/signalbox" -}}
{{- /* Who has certificates uses them; this allows plaintext where there are none. */ -}}
{{- $mesh := dict "plaintext" (or (not $v.tls.enabled) (empty $v.services.gateway.tls.secretName)) -}}
{{- if eq $v.discovery.by "dns" -}}
{{- /* A pod that ends is called until the last gateway has looked its name up again. */ -}}
{{- $_ := set $mesh "dns" (dict "most_ms" 5000) -}}
{{- $_ := set $mesh "server" (dict "drain_grace_ms" 7000) -}}
{{- end -}}
{{- if $v.tls.enabled -}}
{{- $_ := set $mesh "tls" (dict "cert_file" (printf "%s/tls/tls.crt" $etc) "key_file" (printf "%s/tls/tls.key" $etc)
      "ca_file" (printf "%s/tls/ca.crt" $etc) "callers" ($v.tls.callers | default (list (printf "spiffe://%s/gateway" $v.tls.trustDomain)))) -}}
{{- end -}}
{{- if eq $v.discovery.by "consul" -}}
{{- $consul := dict "address" $v.consul.address "register" true "tags" $v.consul.tags -}}
{{- with $v.consul.datacenter -}}{{- $_ := set $consul "datacenter" . -}}{{- end -}}
{{- if $v.consul.secret.name -}}{{- $_ := set $consul "token_file" (printf "%s/consul/token" $etc) -}}{{- end -}}
{{- $_ := set $mesh "consul" $consul -}}
{{- end -}}

{{- $telemetry := dict "log_format" $v.telemetry.logFormat "log_level" $v.telemetry.logLevel -}}
{{- if $v.telemetry.metrics.enabled -}}{{- $_ := set $telemetry "metrics_listen" "0.0.0.0:9464" -}}{{- end -}}
{{- with $v.telemetry.otlp -}}
{{- if .endpoint -}}
{{- $otlp := dict "endpoint" .endpoint "protocol" .protocol "traces" .traces "metrics" .metrics "logs" .logs "sample_ratio" .sampleRatio -}}
{{- if $v.secrets.otlpHeaders.name -}}{{- $_ := set $otlp "headers_file" (printf "%s/otlp/headers" $etc) -}}{{- end -}}
{{- $_ := set $telemetry "otlp" $otlp -}}
{{- end -}}
{{- end -}}

{{- $config := dict "mesh" $mesh "telemetry" $telemetry -}}
{{- $sections := dict -}}
{{- range splitList " " (include "signalbox.services" .) -}}
{{- $_ := set $sections . (dict "listen" (printf "0.0.0.0:%s" (include "signalbox.port" .))) -}}
{{- end -}}

{{- if eq $v.backends.mode "shared" -}}
{{- $redis := dict "prefix" $v.redis.prefix -}}
{{- if $v.redis.secret.name -}}{{- $_ := set $redis "url_file" (printf "%s/redis/url" $etc) -}}
{{- else -}}{{- $_ := set $redis "url" $v.redis.url -}}{{- end -}}
{{- $_ := set $config "redis" $redis -}}
{{- if $v.qdrant.url -}}
{{- $qdrant := dict "url" $v.qdrant.url -}}
{{- if $v.qdrant.secret.name -}}{{- $_ := set $qdrant "api_key_file" (printf "%s/qdrant/api-key" $etc) -}}{{- end -}}
{{- $_ := set $sections.cache "qdrant" $qdrant -}}
{{- end -}}
{{- else -}}
{{- $_ := set $sections.metering "backend" "embedded" -}}
{{- end -}}
{{- if $v.secrets.adminKey.name -}}{{- $_ := set $sections.metering "admin_key_file" (printf "%s/admin/admin-key" $etc) -}}{{- end -}}
{{- if $v.secrets.sealKeys.name -}}{{- $_ := set $sections.guard "seal_key_file" (printf "%s/seal/seal-keys" $etc) -}}{{- end -}}
{{- if $v.secrets.cacheKeys.name -}}{{- $_ := set $sections.cache "encryption" (dict "key_file" (printf "%s/cache/cache-keys" $etc)) -}}{{- end -}}

{{- $peers := dict -}}
{{- range list "guard" "cache" "router" "executor" "metering" -}}
{{- $_ := set $peers . (include "signalbox.peers" (dict "root" $ "name" .) | fromJsonArray) -}}
{{- end -}}
{{- $_ := set $sections.gateway "peers" $peers -}}
{{- with $v.services.gateway.tls -}}
{{- if .secretName -}}
{{- $tls := dict "cert_file" (printf "%s/door/tls.crt" $etc) "key_file" (printf "%s/door/tls.key" $etc) "client_certificates" .clientCertificates -}}
{{- if ne .clientCertificates "none" -}}{{- $_ := set $tls "client_ca_file" (printf "%s/door/ca.crt" $etc) -}}{{- end -}}
{{- $_ := set $sections.gateway "tls" $tls -}}
{{- end -}}
{{- end -}}
{{- mergeOverwrite $config $sections (deepCopy $v.config) | toYaml -}}
{{- end }}

{{/* Where the gateway finds a service, as a JSON list. */}}
{{- define "signalbox.peers" -}}
{{- $service := index .root.Values.services .name -}}
{{- if not $service.enabled -}}
{{ toJson $service.peers }}
{{- else if eq .root.Values.discovery.by "consul" -}}
{{- $tag := first .root.Values.consul.tags -}}
{{ toJson (list (printf "consul://signalbox-%s%s" .name (ternary (printf "?tag=%s" $tag) "" (not (empty $tag))))) }}
{{- else -}}
{{ toJson (list (printf "dns://%s-%s.%s.svc.%s:%s" (include "signalbox.fullname" .root) .name .root.Release.Namespace
      .root.Values.discovery.clusterDomain (include "signalbox.port" .name))) }}
{{- end -}}
{{- end }}

{{- define "signalbox.toml" -}}
# Made by the chart. `signalbox config check FILE` checks it.
{{- include "toml.table" (dict "path" "" "table" (include "signalbox.config" . | fromYaml)) }}
{{- end }}

{{/* What of the configuration running services cannot take over. */}}
{{- define "signalbox.fixed" -}}
{{- $config := include "signalbox.config" . | fromYaml -}}
{{- if eq .Values.restarts "needed" -}}
{{- $config = omit $config "models" "tenants" "prices" "router" -}}
{{- range list "guard" "cache" -}}{{- $_ := set $config . (omit (get $config .) "policies") -}}{{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}
