package api

// The finalizers that hold storage objects while they are used: a claim while pods have it, a volume while it is bound, a class of
// attributes while a claim or a volume asks for it. Admission puts them on, a controller takes them off.
const (
	ClaimProtectionFinalizer      = "kubernetes.io/pvc-protection"
	VolumeProtectionFinalizer     = "kubernetes.io/pv-protection"
	AttributesProtectionFinalizer = "kubernetes.io/vac-protection"
)
