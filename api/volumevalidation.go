package api

import (
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// volumeNames finds a pod's volumes for its mounts.
type volumeNames map[string]*corev1.VolumeSource

func validateVolumes(volumes []corev1.Volume, path *field.Path) (volumeNames, field.ErrorList) {
	names, errs := volumeNames{}, field.ErrorList(nil)
	for i := range volumes {
		v, at := &volumes[i], path.Index(i)
		faulty := validateVolumeSource(&v.VolumeSource, at)
		switch _, twice := names[v.Name]; {
		case v.Name == "":
			faulty = append(faulty, field.Required(at.Child("name"), ""))
		case twice:
			faulty = append(faulty, field.Duplicate(at.Child("name"), v.Name))
		default:
			faulty = append(faulty, faults(at.Child("name"), v.Name, utilvalidation.IsDNS1123Label(v.Name))...)
			names[v.Name] = &v.VolumeSource
		}
		errs = append(errs, faulty...)
	}
	return names, errs
}

// validateVolumeSource wants exactly one source. The sources are found by reflection, so that no
// kind of volume can be forgotten; those without a check of their own pass.
func validateVolumeSource(s *corev1.VolumeSource, path *field.Path) (errs field.ErrorList) {
	set := setFields(s)
	if len(set) == 0 {
		return field.ErrorList{field.Required(path, "must specify a volume type")}
	}
	slices.SortStableFunc(set, func(a, b string) int { return slices.Index(volumeOrder, a) - slices.Index(volumeOrder, b) })
	for _, name := range set[1:] {
		errs = append(errs, field.Forbidden(path.Child(name), "may not specify more than 1 volume type"))
	}
	check := volumeChecks[set[0]]
	if check == nil {
		check = oldVolumeChecks[set[0]]
	}
	if check != nil {
		errs = append(errs, check(s, path.Child(set[0]))...)
	}
	return errs
}

// volumeOrder is the order in which Kubernetes looks at the sources. Of several, the first is checked and the others are too many.
var volumeOrder = []string{"emptyDir", "hostPath", "gitRepo", "gcePersistentDisk", "awsElasticBlockStore", "secret", "nfs", "iscsi", "glusterfs",
	"flocker", "persistentVolumeClaim", "rbd", "cinder", "cephfs", "quobyte", "downwardAPI", "fc", "flexVolume", "configMap", "azureFile",
	"vsphereVolume", "photonPersistentDisk", "portworxVolume", "azureDisk", "storageos", "projected", "scaleIO", "csi", "ephemeral", "image"}

// setFields lists the JSON names of the fields of a struct that are not zero.
func setFields(structPointer any) (names []string) {
	v := reflect.ValueOf(structPointer).Elem()
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			names = append(names, name)
		}
	}
	return names
}

var volumeChecks = map[string]func(*corev1.VolumeSource, *field.Path) field.ErrorList{
	"emptyDir": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
		if q := s.EmptyDir.SizeLimit; q != nil && q.Sign() < 0 {
			return field.ErrorList{field.Forbidden(path.Child("sizeLimit"), "SizeLimit field must be a valid resource quantity")}
		}
		return nil
	},
	"hostPath": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
		return validateHostPath(s.HostPath, path)
	},
	"secret": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
		errs := required(s.Secret.SecretName, path.Child("secretName"))
		errs = append(errs, validateMode(s.Secret.DefaultMode, path.Child("defaultMode"))...)
		return append(errs, validateItems(s.Secret.Items, path.Child("items"))...)
	},
	"configMap": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
		errs := required(s.ConfigMap.Name, path.Child("name"))
		errs = append(errs, validateMode(s.ConfigMap.DefaultMode, path.Child("defaultMode"))...)
		return append(errs, validateItems(s.ConfigMap.Items, path.Child("items"))...)
	},
	"downwardAPI": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
		errs := validateMode(s.DownwardAPI.DefaultMode, path.Child("defaultMode"))
		return append(errs, validateDownward(s.DownwardAPI.Items, path)...)
	},
	"projected": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
		return validateProjected(s.Projected, path)
	},
	"persistentVolumeClaim": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
		return required(s.PersistentVolumeClaim.ClaimName, path.Child("claimName"))
	},
	"nfs": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
		return validateNFS(s.NFS, path)
	},
	"csi": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
		errs := validateCSIDriverName(s.CSI.Driver, path.Child("driver"))
		if r := s.CSI.NodePublishSecretRef; r != nil {
			errs = append(errs, required(r.Name, path.Child("nodePublishSecretRef", "name"))...)
		}
		return errs
	},
	"ephemeral": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
		return validateClaimTemplate(s.Ephemeral.VolumeClaimTemplate, path.Child("volumeClaimTemplate"))
	},
	"image": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
		return requiredOneOf(s.Image.PullPolicy, path.Child("pullPolicy"), corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)
	},
}

func required(v string, path *field.Path) field.ErrorList {
	if v == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return nil
}

func validateHostPath(h *corev1.HostPathVolumeSource, path *field.Path) field.ErrorList {
	if h.Path == "" {
		return field.ErrorList{field.Required(path.Child("path"), "")}
	}
	errs := validateNoBacksteps(h.Path, path.Child("path"))
	if t := h.Type; t != nil && *t != corev1.HostPathUnset {
		errs = append(errs, oneOf(*t, path.Child("type"), corev1.HostPathDirectoryOrCreate, corev1.HostPathDirectory,
			corev1.HostPathFileOrCreate, corev1.HostPathFile, corev1.HostPathSocket, corev1.HostPathCharDev, corev1.HostPathBlockDev)...)
	}
	return errs
}

func validateMode(mode *int32, path *field.Path) field.ErrorList {
	if mode == nil || (*mode >= 0 && *mode <= 0o777) {
		return nil
	}
	return field.ErrorList{field.Invalid(path, *mode, "must be a number between 0 and 0777 (octal), both inclusive")}
}

func validateItems(items []corev1.KeyToPath, path *field.Path) (errs field.ErrorList) {
	for i, item := range items {
		at := path.Index(i)
		errs = append(errs, required(item.Key, at.Child("key"))...)
		errs = append(errs, validateFilePath(item.Path, at.Child("path"))...)
		errs = append(errs, validateMode(item.Mode, at.Child("mode"))...)
	}
	return errs
}

// validateFilePath: a name inside a volume; those that begin with two dots are the volume's own.
func validateFilePath(p string, path *field.Path) field.ErrorList {
	if p == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	errs := validateDescending(p, path)
	if strings.HasPrefix(p, "..") && !strings.HasPrefix(p, "../") {
		errs = append(errs, field.Invalid(path, p, "must not start with '..'"))
	}
	return errs
}

func validateDownward(files []corev1.DownwardAPIVolumeFile, path *field.Path) (errs field.ErrorList) {
	for i := range files {
		errs = append(errs, validateDownwardFile(&files[i], path)...)
	}
	return errs
}

func validateDownwardFile(f *corev1.DownwardAPIVolumeFile, path *field.Path) field.ErrorList {
	errs := validateFilePath(f.Path, path.Child("path"))
	switch {
	case f.FieldRef != nil && f.ResourceFieldRef != nil:
		errs = append(errs, field.Invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"))
	case f.FieldRef != nil:
		errs = append(errs, validateFieldRef(f.FieldRef, fileFieldPaths, path.Child("fieldRef"))...)
	case f.ResourceFieldRef != nil:
		errs = append(errs, validateResourceRef(f.ResourceFieldRef, true, path.Child("resourceFieldRef"))...)
	default:
		errs = append(errs, field.Required(path, "one of fieldRef and resourceFieldRef is required"))
	}
	return append(errs, validateMode(f.Mode, path.Child("mode"))...)
}
