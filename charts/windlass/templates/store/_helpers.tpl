{{/* What the rest of the chart knows of the store: its address, its credentials, its volume. */}}

{{/* Port of the embedded S3 server, of its pod and its Service alike. */}}
{{- define "windlass.store.port" -}}
7070
{{- end }}

{{/* Bucket of the embedded S3 server, a folder of its volume. */}}
{{- define "windlass.store.bucket" -}}
windlass
{{- end }}

{{/* Where mode volume mounts its claim; the operator mounts it there in the pods of objects. */}}
{{- define "windlass.store.path" -}}
/var/lib/windlass/store
{{- end }}

{{/* Name of the Secret with the credentials of an S3 store. */}}
{{- define "windlass.store.secret" -}}
{{- if eq .Values.store.mode "s3" -}}
{{- required "store.s3.existingSecret names the Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; store.mode s3 needs it" .Values.store.s3.existingSecret -}}
{{- else -}}
{{- .Values.store.embedded.existingSecret | default (include "windlass.name" (dict "root" . "component" "store-credentials")) -}}
{{- end -}}
{{- end }}

{{/* Region of the bucket; the embedded server takes any, as long as client and server agree. */}}
{{- define "windlass.store.region" -}}
{{- eq .Values.store.mode "s3" | ternary .Values.store.s3.region "us-east-1" -}}
{{- end }}

{{/* Root of the store, as the programs take it. */}}
{{- define "windlass.store.url" -}}
{{- if eq .Values.store.mode "volume" -}}
file://{{ include "windlass.store.path" . }}
{{- else if eq .Values.store.mode "s3" -}}
{{- $bucket := required "store.s3.bucket names the bucket; store.mode s3 needs it" .Values.store.s3.bucket -}}
{{- list "s3:/" $bucket (trimAll "/" .Values.store.s3.prefix) | compact | join "/" -}}
{{- else -}}
s3://{{ include "windlass.store.bucket" . }}
{{- end -}}
{{- end }}

{{/* URL of the S3 service; nothing means AWS itself. */}}
{{- define "windlass.store.endpoint" -}}
{{- if eq .Values.store.mode "s3" -}}
{{- .Values.store.s3.endpoint -}}
{{- else -}}
http://{{ include "windlass.name" (dict "root" . "component" "store") }}.{{ .Release.Namespace }}.svc:{{ include "windlass.store.port" . }}
{{- end -}}
{{- end }}

{{/* Environment by which a container reaches the store. */}}
{{- define "windlass.store.environment" -}}
- name: WINDLASS_STORE_URL
  value: {{ include "windlass.store.url" . | quote }}
{{- if ne .Values.store.mode "volume" }}
{{- with include "windlass.store.endpoint" . }}
- name: AWS_ENDPOINT_URL
  value: {{ . | quote }}
{{- end }}
- name: AWS_REGION
  value: {{ include "windlass.store.region" . | quote }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef: {name: {{ include "windlass.store.secret" $ | quote }}, key: {{ . }}}
{{- end }}
{{- if eq .Values.store.mode "s3" }}
- name: AWS_SESSION_TOKEN
  valueFrom:
    secretKeyRef: {name: {{ include "windlass.store.secret" . | quote }}, key: AWS_SESSION_TOKEN, optional: true}
{{- end }}
{{- end }}
{{- end }}
