{{/* Names, labels and the values of one service. */}}

{{- define "signalbox.services" -}}
guard cache router executor metering gateway
{{- end }}

{{- define "signalbox.port" -}}
{{ get (dict "guard" 8081 "cache" 8082 "router" 8083 "executor" 8084 "metering" 8085 "gateway" 8080) . }}
{{- end }}

{{- define "signalbox.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{ ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{/* What pods are selected by: (dict "root" $ "name" SERVICE). */}}
{{- define "signalbox.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{- define "signalbox.labels" -}}
{{ include "signalbox.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: signalbox
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "signalbox.metadata" -}}
name: {{ include "signalbox.fullname" .root }}-{{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "signalbox.labels" . | nindent 2 }}
{{- end }}

{{/* A service's values: its own over the defaults. As YAML. */}}
{{- define "signalbox.of" -}}
{{- mergeOverwrite (deepCopy .root.Values.defaults) (deepCopy (index .root.Values.services .name)) | toYaml }}
{{- end }}

{{/* The services that run here, as a JSON list. */}}
{{- define "signalbox.enabled" -}}
{{- $enabled := list -}}
{{- range splitList " " (include "signalbox.services" .) -}}
{{- if (index $.Values.services .).enabled -}}{{- $enabled = append $enabled . -}}{{- end -}}
{{- end -}}
{{ toJson $enabled }}
{{- end }}

{{/* "true" where a service keeps what others do not have: one replica then, except the gateway, whose spools are each replica's own. */}}
{{- define "signalbox.single" -}}
{{- if and (eq .root.Values.backends.mode "embedded") (has .name (list "cache" "metering")) -}}true{{- end -}}
{{- end }}

{{- define "signalbox.keepsState" -}}
{{- if or (eq .name "gateway") (include "signalbox.single" .) -}}true{{- end -}}
{{- end }}

{{/* "true" where the number of pods follows the load. */}}
{{- define "signalbox.scaled" -}}
{{- if and .values.autoscaling.enabled (not (include "signalbox.single" .)) -}}true{{- end -}}
{{- end }}

{{- define "signalbox.serviceAccount" -}}
{{ .values.serviceAccount.name | default (ternary (printf "%s-%s" (include "signalbox.fullname" .root) .name) "default" .values.serviceAccount.create) }}
{{- end }}

{{- define "signalbox.image" -}}
{{- $repository := .values.image.repository | default (printf "signalbox-%s" .name) -}}
{{- $tag := .values.image.tag | default .root.Values.image.tag | default .root.Chart.AppVersion -}}
{{ with .root.Values.image.registry }}{{ trimSuffix "/" . }}/{{ end }}{{ $repository }}{{ if .values.image.digest }}@{{ .values.image.digest }}{{ else }}:{{ $tag }}{{ end }}
{{- end }}

{{- define "signalbox.tlsSecret" -}}
{{ .root.Values.tls.secretName | default (printf "%s-SERVICE-tls" (include "signalbox.fullname" .root)) | replace "SERVICE" .name }}
{{- end }}
