package compat

// Tags are those that the module is built with.
const Tags = "netgo,osusergo,seccomp"

// release is the Kubernetes release whose kinds these are.
const release = "v1.37"

// Fate is what becomes of a field that the source does not show to be acted on.
type Fate string

// Fates. See the page's preface.
const (
	Acts    Fate = "acted on" // by a library, or by the API itself
	Checked Fate = "checked"
	Refused Fate = "refused"
	Dropped Fate = "dropped"
	Warned  Fate = "warned"
)

// Verdict is somebody's finding on a field, and on what is within it.
type Verdict struct {
	Fate Fate
	Text string
}

// The findings that many fields share.
var (
	forReaders  = Verdict{Checked, "for those who read it"}
	byValidator = Verdict{Acts, "the API itself"}
	byLibrary   = Verdict{Acts, "k8s.io/component-helpers"}
	byAdmission = Verdict{Acts, "k8s.io/apiserver/pkg/admission"}
	asContainer = Verdict{Acts, "as the field of an ordinary container, whose layout it has"}
	noVolume    = Verdict{Refused, "event FailedMount: this kind of volume is not supported by the node"}
	noCSI       = Verdict{Warned, "there is no CSI; volumes of drivers are refused by the nodes with event FailedMount"}
	noDevices   = Verdict{Warned, "nothing allocates devices; a pod that asks for them stays Pending and says so"}
	alphaField  = Verdict{Dropped, "alpha in " + release}
	noWindows   = Verdict{Checked, "for nodes with Windows; without effect on Linux, as in Kubernetes"}
	byFlows     = Verdict{Acts, "k8s.io/apiserver/pkg/util/flowcontrol"}
)

// verdicts are by field, or by type for all its fields ("core/v1.PersistentVolumeSource.*") that have none of their own and that nothing
// acts on.
var verdicts = map[string]Verdict{
	// Storage.
	"core/v1.VolumeSource.*":                    noVolume,
	"core/v1.CSIVolumeSource.*":                 noVolume,
	"core/v1.PersistentVolumeSource.*":          noVolume,
	"core/v1.CSIPersistentVolumeSource.*":       noVolume,
	"core/v1.NodeSelectorTerm.MatchFields":      byLibrary,
	"core/v1.LocalVolumeSource.FSType":          {Checked, "a directory has no file system of its own; block devices are refused"},
	"core/v1.TypedLocalObjectReference.*":       {Refused, "event ProvisioningFailed for the built-in class: spec.dataSource is not supported; other provisioners read it"},
	"core/v1.TypedObjectReference.*":            {Refused, "event ProvisioningFailed for the built-in class: spec.dataSource is not supported; other provisioners read it"},
	"core/v1.VolumeResourceRequirements.Limits": {Checked, "for provisioners, as in Kubernetes"},
	"storage/v1.CSIDriverSpec.*":                noCSI,
	"storage/v1.TokenRequest.*":                 noCSI,
	"storage/v1.CSINode.*":                      noCSI,
	"storage/v1.CSIStorageCapacity.*":           noCSI,
	"storage/v1.VolumeAttachment.*":             noCSI,
	"storage/v1.VolumeAttributesClass.*":        {Warned, "for drivers that change volumes; there is no CSI"},

	// Devices.
	"resource/v1.DeviceClass.*":           noDevices,
	"resource/v1.DeviceTaintRule.*":       noDevices,
	"resource/v1.ResourceClaim.*":         noDevices,
	"resource/v1.ResourceClaimTemplate.*": noDevices,
	"resource/v1.ResourceSliceSpec.*":     noDevices,
	"core/v1.ResourceRequirements.Claims": {Refused, "with spec.resourceClaims"},
	"core/v1.PodResourceClaim.*":          {Refused, "the pod stays Pending: nothing allocates the devices that spec.resourceClaims asks for"},

	// Pods.
	"core/v1.EphemeralContainerCommon.*":             asContainer,
	"core/v1.PreferredSchedulingTerm.*":              byLibrary,
	"core/v1.PodSpec.EvictionResponders":             alphaField,
	"core/v1.PodSpec.SchedulingGroup":                alphaField,
	"core/v1.GRPCAction.Mode":                        alphaField,
	"core/v1.HTTPGetAction.Protocol":                 alphaField,
	"core/v1.VolumeMount.BindMountOptions":           alphaField,
	"core/v1.EmptyDirVolumeSource.Mode":              alphaField,
	"core/v1.ConfigMapVolumeSource.DefaultUser":      alphaField,
	"core/v1.DownwardAPIVolumeSource.DefaultUser":    alphaField,
	"core/v1.ProjectedVolumeSource.DefaultUser":      alphaField,
	"core/v1.SecretVolumeSource.DefaultUser":         alphaField,
	"core/v1.DownwardAPIVolumeFile.User":             alphaField,
	"core/v1.KeyToPath.User":                         alphaField,
	"core/v1.ServiceAccountTokenProjection.User":     alphaField,
	"core/v1.SELinuxOptions.*":                       {Refused, "the pod fails with SELinuxNotSupported on a node whose kernel has SELinux; without effect on others, as in Kubernetes"},
	"core/v1.PodSecurityContext.SELinuxChangePolicy": {Checked, "about the labels of seLinuxOptions"},
	"core/v1.PodSecurityContext.WindowsOptions":      noWindows,
	"core/v1.SecurityContext.WindowsOptions":         noWindows,
	"core/v1.VolumeDevice.DevicePath":                {Refused, "event FailedMount: the node has no raw block volumes"},
	"core/v1.PodSchedulingGate.Name":                 {Checked, "any gate holds the pod back, whatever its name"},
	"core/v1.ClusterTrustBundleProjection.*":         {Refused, "event FailedMount where a bundle is chosen by signer: name the bundle"},
	"core/v1.PodCertificateProjection.*":             {Refused, "event FailedMount: the node does not support this source of a projected volume"},
	"core/v1.PodTemplate.Template":                   {Checked, "for programs that make pods of it, as in Kubernetes"},

	// Workloads.
	"batch/v1.JobSpec.ManualSelector":            byValidator,
	"batch/v1.JobSpec.Scheduling":                alphaField,
	"autoscaling/v2.ExternalMetricSource.Target": {Refused, "condition ScalingActive is false: there is no API of external metrics"},
	"autoscaling/v2.ObjectMetricSource.Target":   {Refused, "condition ScalingActive is false: there is no API of custom metrics"},
	"autoscaling/v2.PodsMetricSource.Target":     {Refused, "condition ScalingActive is false: there is no API of custom metrics"},
	"autoscaling/v2.MetricIdentifier.Selector":   {Refused, "with the metric that it narrows"},
	"autoscaling/v2.MetricTarget.*":              {Checked, "must agree with the number beside it; a plain value is for metrics of objects"},
	"scheduling/v1.PriorityClass.*":              byValidator,
	"scheduling/v1.PriorityClass.Description":    forReaders,

	"core/v1.ResourceQuotaSpec.*": {Acts, "k8s.io/apiserver/pkg/quota/v1"},

	// Nodes and networks.
	"core/v1.NodeSpec.ProviderID":               forReaders,
	"core/v1.NodeSpec.DoNotUseExternalID":       {Checked, "without effect, as in Kubernetes"},
	"core/v1.NodeConfigSource.*":                {Checked, "without effect, as in Kubernetes"},
	"core/v1.NodeSpec.PodPreemptionPolicy":      {Refused, "alpha in " + release},
	"discovery/v1.Endpoint.DeprecatedTopology":  forReaders,
	"networking/v1.IngressBackend.Resource":     {Refused, "warning: the built-in controller answers 503; another may serve it"},
	"networking/v1.IngressClassSpec.Parameters": {Checked, "for controllers other than the built-in one, which has none"},

	// Rights and traffic of the API.
	"admissionregistration/v1.MatchCondition.*":                       byAdmission,
	"admissionregistration/v1.MatchResources.*":                       byAdmission,
	"admissionregistration/v1.MutatingAdmissionPolicyBindingSpec.*":   byAdmission,
	"admissionregistration/v1.MutatingAdmissionPolicySpec.*":          byAdmission,
	"admissionregistration/v1.MutatingWebhook.*":                      byAdmission,
	"admissionregistration/v1.NamedRuleWithOperations.*":              byAdmission,
	"admissionregistration/v1.Rule.*":                                 byAdmission,
	"admissionregistration/v1.ServiceReference.*":                     byAdmission,
	"admissionregistration/v1.ValidatingAdmissionPolicyBindingSpec.*": byAdmission,
	"admissionregistration/v1.ValidatingWebhook.*":                    byAdmission,
	"certificates/v1.CertificateSigningRequestSpec.*":                 byValidator,
	"certificates/v1.PodCertificateRequestSpec.*":                     {Checked, "for signers, of which none is built in"},
	"core/v1.ConfigMap.Immutable":                                     byValidator,
	"core/v1.Secret.Immutable":                                        byValidator,
	"core/v1.Secret.StringData":                                       byValidator,
	"core/v1.ServiceAccount.Secrets":                                  {Checked, "for those who read it; tokens are asked for, not kept in Secrets"},
	"flowcontrol/v1.FlowSchemaSpec.*":                                 byFlows,
	"flowcontrol/v1.PriorityLevelConfigurationSpec.*":                 byFlows,

	// What programs tell each other.
	"coordination/v1.LeaseSpec.*": forReaders,
	"core/v1.Event.*":             forReaders,
}
