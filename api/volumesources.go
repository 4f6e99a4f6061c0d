package api

import (
	"net"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// volumeCheck checks one source of a persistent volume; the path is the source's own.
type volumeCheck func(s *corev1.PersistentVolumeSource, path *field.Path) field.ErrorList

// persistentVolumeSources are the sources by their JSON names. Of two, the one that comes first here is the volume's, and the other is
// one too many.
var persistentVolumeSources = []struct {
	name  string
	check volumeCheck
}{
	{"hostPath", func(s *corev1.PersistentVolumeSource, path *field.Path) field.ErrorList {
		return validateHostPath(s.HostPath, path)
	}},
	{"gcePersistentDisk", func(s *corev1.PersistentVolumeSource, path *field.Path) field.ErrorList {
		return validateGCEDisk(s.GCEPersistentDisk, path)
	}},
	{"awsElasticBlockStore", func(s *corev1.PersistentVolumeSource, path *field.Path) field.ErrorList {
		return validateAWSDisk(s.AWSElasticBlockStore, path)
	}},
	{"glusterfs", func(s *corev1.PersistentVolumeSource, path *field.Path) field.ErrorList {
		errs := validateGlusterfs(s.Glusterfs.EndpointsName, s.Glusterfs.Path, path)
		return append(errs, validateGlusterfsNamespace(s.Glusterfs.EndpointsNamespace, path.Child("endpointsNamespace"))...)
	}},
	{"flocker", func(s *corev1.PersistentVolumeSource, path *field.Path) field.ErrorList {
		return validateFlocker(s.Flocker, path)
	}},
	{"nfs", func(s *corev1.PersistentVolumeSource, path *field.Path) field.ErrorList {
		return validateNFS(s.NFS, path)
	}},
	{"rbd", func(s *corev1.PersistentVolumeSource, path *field.Path) field.ErrorList {
		return validateRBD(s.RBD.CephMonitors, s.RBD.RBDImage, path)
	}},
	{"quobyte", func(s *corev1.PersistentVolumeSource, path *field.Path) field.ErrorList {
		return validateQuobyte(s.Quobyte, path)
	}},
	{"cephfs", func(s *corev1.PersistentVolumeSource, path *field.Path) field.ErrorList {
		return requiredList(s.CephFS.Monitors, path.Child("monitors"))
	}},
	{"iscsi", func(s *corev1.PersistentVolumeSource, path *field.Path) field.ErrorList {
		i := s.ISCSI
		target := iscsiTarget{i.TargetPortal, i.IQN, i.Lun, i.InitiatorName, i.DiscoveryCHAPAuth || i.SessionCHAPAuth, nil}
		if i.SecretRef != nil {
			target.secret = &i.SecretRef.Name
		}
		return validateISCSI(target, path)
	}},
	{"cinder", func(s *corev1.PersistentVolumeSource, path *field.Path) field.ErrorList {
		errs := required(s.Cinder.VolumeID, path.Child("volumeID"))
		return append(errs, requiredSecret(s.Cinder.SecretRef, path.Child("secretRef"))...)
	}},
	{"fc", func(s *corev1.PersistentVolumeSource, path *field.Path) field.ErrorList {
		return validateFC(s.FC, path)
	}},
	{"flexVolume", func(s *corev1.PersistentVolumeSource, path *field.Path) field.ErrorList {
		return validateFlex(s.FlexVolume.Driver, s.FlexVolume.Options, path)
	}},
	{"azureFile", func(s *corev1.PersistentVolumeSource, path *field.Path) field.ErrorList {
		errs := validateAzureFile(s.AzureFile.SecretName, s.AzureFile.ShareName, path)
		if ns := s.AzureFile.SecretNamespace; ns != nil {
			errs = append(errs, required(*ns, path.Child("secretNamespace"))...)
		}
		return errs
	}},
	{"vsphereVolume", func(s *corev1.PersistentVolumeSource, path *field.Path) field.ErrorList {
		return required(s.VsphereVolume.VolumePath, path.Child("volumePath"))
	}},
	{"photonPersistentDisk", func(s *corev1.PersistentVolumeSource, path *field.Path) field.ErrorList {
		return required(s.PhotonPersistentDisk.PdID, path.Child("pdID"))
	}},
	{"portworxVolume", func(s *corev1.PersistentVolumeSource, path *field.Path) field.ErrorList {
		return required(s.PortworxVolume.VolumeID, path.Child("volumeID"))
	}},
	{"azureDisk", func(s *corev1.PersistentVolumeSource, path *field.Path) field.ErrorList {
		return validateAzureDisk(s.AzureDisk, path)
	}},
	{"scaleIO", func(s *corev1.PersistentVolumeSource, path *field.Path) field.ErrorList {
		return validateScaleIO(s.ScaleIO.Gateway, s.ScaleIO.System, s.ScaleIO.VolumeName, path)
	}},
	{"local", func(s *corev1.PersistentVolumeSource, path *field.Path) field.ErrorList {
		if s.Local.Path == "" {
			return field.ErrorList{field.Required(path.Child("path"), "")}
		}
		return validateNoBacksteps(s.Local.Path, path.Child("path"))
	}},
	{"storageos", func(s *corev1.PersistentVolumeSource, path *field.Path) field.ErrorList {
		errs := validateStorageOS(s.StorageOS.VolumeName, s.StorageOS.VolumeNamespace, path)
		if r := s.StorageOS.SecretRef; r != nil {
			errs = append(errs, requiredSecret(&corev1.SecretReference{Name: r.Name, Namespace: r.Namespace}, path.Child("secretRef"))...)
		}
		return errs
	}},
	{"csi", func(s *corev1.PersistentVolumeSource, path *field.Path) field.ErrorList {
		return validateCSIVolume(s.CSI, path)
	}},
}

func requiredList(list []string, path *field.Path) field.ErrorList {
	if len(list) == 0 {
		return field.ErrorList{field.Required(path, "")}
	}
	return nil
}

// requiredSecret: a secret that is referred to from outside of a namespace has a name and a namespace.
func requiredSecret(r *corev1.SecretReference, path *field.Path) field.ErrorList {
	if r == nil {
		return nil
	}
	return append(required(r.Name, path.Child("name")), required(r.Namespace, path.Child("namespace"))...)
}

// inRange reports a number that is not between two others.
func inRange(n int32, least, most int, path *field.Path) field.ErrorList {
	if int(n) >= least && int(n) <= most {
		return nil
	}
	return field.ErrorList{field.Invalid(path, n, utilvalidation.InclusiveRangeError(least, most))}
}

// A disk's partitions and a target's units are numbered in a byte.
const byteMax = 255

// validatePartition lets 0 stand for the whole disk, though the message does not name it.
func validatePartition(n int32, path *field.Path) field.ErrorList {
	if n == 0 {
		return nil
	}
	return inRange(n, 1, byteMax, path)
}

func validateGCEDisk(d *corev1.GCEPersistentDiskVolumeSource, path *field.Path) field.ErrorList {
	return append(required(d.PDName, path.Child("pdName")), validatePartition(d.Partition, path.Child("partition"))...)
}

func validateAWSDisk(d *corev1.AWSElasticBlockStoreVolumeSource, path *field.Path) field.ErrorList {
	return append(required(d.VolumeID, path.Child("volumeID")), validatePartition(d.Partition, path.Child("partition"))...)
}

func validateNFS(n *corev1.NFSVolumeSource, path *field.Path) field.ErrorList {
	errs := append(required(n.Server, path.Child("server")), required(n.Path, path.Child("path"))...)
	if n.Path != "" && !strings.HasPrefix(n.Path, "/") {
		errs = append(errs, field.Invalid(path.Child("path"), n.Path, "must be an absolute path"))
	}
	return errs
}

func validateGlusterfs(endpoints, volume string, path *field.Path) field.ErrorList {
	return append(required(endpoints, path.Child("endpoints")), required(volume, path.Child("path"))...)
}

func validateGlusterfsNamespace(ns *string, path *field.Path) field.ErrorList {
	switch {
	case ns == nil:
		return nil
	case *ns == "":
		return field.ErrorList{field.Invalid(path, *ns, "if the endpointnamespace is set, it must be a valid namespace name")}
	}
	return faults(path, *ns, validation.ValidateNamespaceName(*ns, false))
}

func validateRBD(monitors []string, image string, path *field.Path) field.ErrorList {
	return append(requiredList(monitors, path.Child("monitors")), required(image, path.Child("image"))...)
}

func validateFlocker(f *corev1.FlockerVolumeSource, path *field.Path) (errs field.ErrorList) {
	switch {
	case f.DatasetName == "" && f.DatasetUUID == "":
		errs = append(errs, field.Required(path, "one of datasetName and datasetUUID is required"))
	case f.DatasetName != "" && f.DatasetUUID != "":
		errs = append(errs, field.Invalid(path, "resource", "datasetName and datasetUUID can not be specified simultaneously"))
	}
	if strings.Contains(f.DatasetName, "/") {
		errs = append(errs, field.Invalid(path.Child("datasetName"), f.DatasetName, "must not contain '/'"))
	}
	return errs
}

// quobyteTenantCharactersMax is more than a UUID has; Quobyte's own bound.
const quobyteTenantCharactersMax = 64

func validateQuobyte(q *corev1.QuobyteVolumeSource, path *field.Path) (errs field.ErrorList) {
	const pairs = "must be a host:port pair or multiple pairs separated by commas"
	registry := path.Child("registry")
	switch {
	case q.Registry == "":
		errs = append(errs, field.Required(registry, pairs))
	case len(q.Tenant) > quobyteTenantCharactersMax:
		errs = append(errs, field.Required(path.Child("tenant"), "must be a UUID and may not exceed a length of 64 characters"))
	default:
		for _, pair := range strings.Split(q.Registry, ",") {
			if _, _, err := net.SplitHostPort(pair); err != nil {
				errs = append(errs, field.Invalid(registry, q.Registry, pairs))
			}
		}
	}
	return append(errs, required(q.Volume, path.Child("volume"))...)
}

// iscsiTarget is what a volume of a pod and a persistent volume say alike of an iSCSI disk.
type iscsiTarget struct {
	portal, name string
	lun          int32
	initiator    *string
	chap         bool
	secret       *string
}

// iscsiInitiatorCharactersMax bounds what the open-iscsi tools make of a portal and a volume's name.
const iscsiInitiatorCharactersMax = 64

// The three forms of an iSCSI name (RFC 3720, section 3.2.6.3, and RFC 3980).
var iscsiNames = []struct {
	prefix string
	form   *regexp.Regexp
}{
	{"iqn", regexp.MustCompile(`^iqn\.\d{4}-\d{2}\.[[:alnum:].-]+(:[^,;*&$|\s]+)$`)},
	{"eui", regexp.MustCompile(`^eui.[[:alnum:]]{16}$`)},
	{"naa", regexp.MustCompile(`^naa.[[:alnum:]]{32}$`)},
}

func validISCSIName(name string) bool {
	for _, n := range iscsiNames {
		if strings.HasPrefix(name, n.prefix) {
			return n.form.MatchString(name)
		}
	}
	return false
}

func validateISCSI(t iscsiTarget, path *field.Path) field.ErrorList {
	errs := required(t.portal, path.Child("targetPortal"))
	switch {
	case t.name == "":
		errs = append(errs, field.Required(path.Child("iqn"), ""))
	case !validISCSIName(t.name):
		errs = append(errs, field.Invalid(path.Child("iqn"), t.name, "must be valid format"))
	}
	errs = append(errs, inRange(t.lun, 0, byteMax, path.Child("lun"))...)
	switch {
	case t.chap && t.secret == nil:
		errs = append(errs, field.Required(path.Child("secretRef"), ""))
	case t.secret != nil:
		errs = append(errs, required(*t.secret, path.Child("secretRef", "name"))...)
	}
	if t.initiator != nil && !validISCSIName(*t.initiator) {
		errs = append(errs, field.Invalid(path.Child("initiatorname"), *t.initiator, "must be valid format"))
	}
	return errs
}

func validateFC(f *corev1.FCVolumeSource, path *field.Path) (errs field.ErrorList) {
	names := path.Child("targetWWNs")
	switch {
	case len(f.TargetWWNs) == 0 && len(f.WWIDs) == 0:
		errs = append(errs, field.Required(names, "must specify either targetWWNs or wwids, but not both"))
	case len(f.TargetWWNs) > 0 && len(f.WWIDs) > 0:
		errs = append(errs, field.Invalid(names, f.TargetWWNs, "targetWWNs and wwids can not be specified simultaneously"))
	}
	if len(f.TargetWWNs) == 0 {
		return errs
	}
	if f.Lun == nil {
		return append(errs, field.Required(path.Child("lun"), "lun is required if targetWWNs is specified"))
	}
	return append(errs, inRange(*f.Lun, 0, byteMax, path.Child("lun"))...)
}

// validateFlex: the options that Kubernetes itself gives to a driver have a domain of its own.
func validateFlex(driver string, options map[string]string, path *field.Path) field.ErrorList {
	errs := required(driver, path.Child("driver"))
	for _, key := range sortedKeys(options) {
		domain, _, _ := strings.Cut(key, "/")
		domain = "." + strings.ToLower(domain)
		if strings.HasSuffix(domain, ".kubernetes.io") || strings.HasSuffix(domain, ".k8s.io") {
			errs = append(errs, field.Invalid(path.Child("options").Key(key), key, "kubernetes.io and k8s.io namespaces are reserved"))
		}
	}
	return errs
}

func validateAzureFile(secret, share string, path *field.Path) field.ErrorList {
	return append(required(secret, path.Child("secretName")), required(share, path.Child("shareName"))...)
}

// What the address of an Azure disk begins with: a managed disk has a resource's, any other a blob's.
const (
	azureManagedPrefix = "/subscriptions/"
	azureBlobPrefix    = "https://"
)

func validateAzureDisk(d *corev1.AzureDiskVolumeSource, path *field.Path) field.ErrorList {
	errs := append(required(d.DiskName, path.Child("diskName")), required(d.DataDiskURI, path.Child("diskURI"))...)
	if c := d.CachingMode; c != nil {
		errs = append(errs, oneOf(*c, path.Child("cachingMode"),
			corev1.AzureDataDiskCachingNone, corev1.AzureDataDiskCachingReadOnly, corev1.AzureDataDiskCachingReadWrite)...)
	}
	if d.Kind == nil {
		return errs
	}
	errs = append(errs, oneOf(*d.Kind, path.Child("kind"), corev1.AzureDedicatedBlobDisk, corev1.AzureManagedDisk, corev1.AzureSharedBlobDisk)...)
	prefix, form := azureBlobPrefix, "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
	if *d.Kind == corev1.AzureManagedDisk {
		prefix, form = azureManagedPrefix, "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
	}
	if !strings.HasPrefix(d.DataDiskURI, prefix) {
		errs = append(errs, field.NotSupported(path.Child("diskURI"), d.DataDiskURI, []string{form}))
	}
	return errs
}

func validateScaleIO(gateway, system, volume string, path *field.Path) field.ErrorList {
	errs := append(required(gateway, path.Child("gateway")), required(system, path.Child("system"))...)
	return append(errs, required(volume, path.Child("volumeName"))...)
}

func validateStorageOS(volume, namespace string, path *field.Path) field.ErrorList {
	errs := required(volume, path.Child("volumeName"))
	if volume != "" {
		errs = append(errs, faults(path.Child("volumeName"), volume, utilvalidation.IsDNS1123Label(volume))...)
	}
	if namespace != "" {
		errs = append(errs, faults(path.Child("volumeNamespace"), namespace, utilvalidation.IsDNS1123Label(namespace))...)
	}
	return errs
}

func validateCSIVolume(c *corev1.CSIPersistentVolumeSource, path *field.Path) field.ErrorList {
	errs := validateCSIDriverName(c.Driver, path.Child("driver"))
	errs = append(errs, required(c.VolumeHandle, path.Child("volumeHandle"))...)
	for _, r := range []struct {
		name   string
		secret *corev1.SecretReference
	}{
		{"controllerPublishSecretRef", c.ControllerPublishSecretRef},
		{"controllerExpandSecretRef", c.ControllerExpandSecretRef},
		{"nodePublishSecretRef", c.NodePublishSecretRef},
		{"nodeStageSecretRef", c.NodeStageSecretRef},
		{"nodeExpandSecretRef", c.NodeExpandSecretRef},
	} {
		errs = append(errs, validateCSISecret(r.secret, path.Child(r.name))...)
	}
	return errs
}

func validateCSISecret(r *corev1.SecretReference, path *field.Path) field.ErrorList {
	errs := requiredSecret(r, path)
	if r == nil {
		return errs
	}
	if r.Name != "" {
		errs = append(errs, faults(path.Child("name"), r.Name, validation.NameIsDNSSubdomain(r.Name, false))...)
	}
	if r.Namespace != "" {
		errs = append(errs, faults(path.Child("namespace"), r.Namespace, validation.ValidateNamespaceName(r.Namespace, false))...)
	}
	return errs
}

// csiDriverCharactersMax bounds a driver's name, which is also a label's.
const csiDriverCharactersMax = 63

func validateCSIDriverName(name string, path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	var errs field.ErrorList
	if len(name) > csiDriverCharactersMax {
		errs = append(errs, field.TooLong(path, name, csiDriverCharactersMax))
	}
	return append(errs, faults(path, name, utilvalidation.IsDNS1123Subdomain(strings.ToLower(name)))...)
}
