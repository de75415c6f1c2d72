{{/*
Names and pieces that several templates share. Each takes a dict with `root`, the chart's own context, where it needs more
than that context.
*/}}

{{/* Name of a component's objects: <release>-<component>. A Service's name has 63 characters at the most, its component up to 10,
and Helm allows 53 for a release. */}}
{{- define "windlass.name" -}}
{{- printf "%s-%s" (.root.Release.Name | trunc 52 | trimSuffix "-") .component -}}
{{- end }}

{{/* Labels by which a component's pods are selected; they never change. */}}
{{- define "windlass.selectorLabels" -}}
app.kubernetes.io/name: windlass-{{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{/* Labels of every object. */}}
{{- define "windlass.labels" -}}
{{ include "windlass.selectorLabels" . }}
app.kubernetes.io/part-of: windlass
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Labels of a component's pods; a new version of the chart alone must not restart them. */}}
{{- define "windlass.podLabels" -}}
{{ include "windlass.selectorLabels" . }}
app.kubernetes.io/part-of: windlass
{{- end }}

{{/* An image by its name in the values: pinned by its digest, where there is one, beside which a tag is for people only; else by
its tag, without which it is the chart's version. */}}
{{- define "windlass.image" -}}
{{- $image := index .root.Values.images .image -}}
{{- $tag := $image.tag | default (empty $image.digest | ternary .root.Chart.AppVersion "") -}}
{{- printf "%s%s%s" $image.repository (empty $tag | ternary "" (printf ":%s" $tag)) (empty $image.digest | ternary "" (printf "@%s" $image.digest)) -}}
{{- end }}

{{/* What every pod of ours has in its spec. The user is the one that all our images know. Process 1 is the pod's own, because
process 1 of a namespace ignores the signals that it has no handler for: a pod deleted in its first second, before the program
listens to SIGTERM, would run on to the end of its grace period. */}}
{{- define "windlass.podSpec" -}}
enableServiceLinks: false
shareProcessNamespace: true
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What every container of ours has. */}}
{{- define "windlass.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* The namespaces that the operator keeps to, as a JSON list; an empty one means all. Pods reach a volume claim in its own
namespace only, so mode volume has no choice. */}}
{{- define "windlass.namespaces" -}}
{{- if eq .Values.store.mode "volume" -}}
{{- if not (has (toJson .Values.namespaces) (list "[]" (toJson (list .Release.Namespace)))) -}}
{{- fail (printf "store.mode volume serves objects of the release's own namespace %s only: leave namespaces empty, or choose another store.mode" .Release.Namespace) -}}
{{- end -}}
{{- list .Release.Namespace | toJson -}}
{{- else -}}
{{- .Values.namespaces | uniq | toJson -}}
{{- end -}}
{{- end }}
