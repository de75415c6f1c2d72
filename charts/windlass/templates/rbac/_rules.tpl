{{/* All that the operator may do, in a namespace or in all of them. Each verb is one that it uses: children are watched, so that one deleted
by hand is back at once. */}}
{{- define "windlass.operatorRules" -}}
- apiGroups: [windlass.dev]
  resources: [datasets, trainingjobs, inferenceservices]
  verbs: [get, list, watch]
# A Model is made when a run publishes and there is none; a run that asks for it moves an alias.
- apiGroups: [windlass.dev]
  resources: [models]
  verbs: [get, list, watch, create, patch]
- apiGroups: [windlass.dev]
  resources: [datasets/status, trainingjobs/status, models/status, inferenceservices/status]
  verbs: [patch]
# Children name their owner with blockOwnerDeletion; clusters that enforce permissions on that ask for this.
- apiGroups: [windlass.dev]
  resources: [datasets/finalizers, trainingjobs/finalizers, inferenceservices/finalizers]
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
# The headless Service of a run goes when the run has ended.
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch]
# One Secret by name, written, never read, and removed with the last object of its namespace.
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [windlass-store]
  verbs: [create, patch, delete]
# Listed for what Kubernetes says of our Jobs, for example that a quota is used up.
- apiGroups: [""]
  resources: [events]
  verbs: [create, list]
{{- end }}
