package api

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// oldVolumeChecks are those of the storage systems that Kubernetes once knew by name; persistent volumes share most of them.
var oldVolumeChecks = map[string]func(*corev1.VolumeSource, *field.Path) field.ErrorList{
	"gcePersistentDisk": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
		return validateGCEDisk(s.GCEPersistentDisk, path)
	},
	"awsElasticBlockStore": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
		return validateAWSDisk(s.AWSElasticBlockStore, path)
	},
	"glusterfs": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
		return validateGlusterfs(s.Glusterfs.EndpointsName, s.Glusterfs.Path, path)
	},
	"flocker": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
		return validateFlocker(s.Flocker, path)
	},
	"rbd": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
		return validateRBD(s.RBD.CephMonitors, s.RBD.RBDImage, path)
	},
	"quobyte": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
		return validateQuobyte(s.Quobyte, path)
	},
	"cephfs": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
		return requiredList(s.CephFS.Monitors, path.Child("monitors"))
	},
	"iscsi": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
		i := s.ISCSI
		target := iscsiTarget{i.TargetPortal, i.IQN, i.Lun, i.InitiatorName, i.DiscoveryCHAPAuth || i.SessionCHAPAuth, nil}
		if r := i.SecretRef; r != nil {
			target.secret = &r.Name
		}
		return validateISCSI(target, path)
	},
	"cinder": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
		errs := required(s.Cinder.VolumeID, path.Child("volumeID"))
		if r := s.Cinder.SecretRef; r != nil {
			errs = append(errs, required(r.Name, path.Child("secretRef", "name"))...)
		}
		return errs
	},
	"fc": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList { return validateFC(s.FC, path) },
	"flexVolume": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
		return validateFlex(s.FlexVolume.Driver, s.FlexVolume.Options, path)
	},
	"azureFile": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
		return validateAzureFile(s.AzureFile.SecretName, s.AzureFile.ShareName, path)
	},
	"vsphereVolume": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
		return required(s.VsphereVolume.VolumePath, path.Child("volumePath"))
	},
	"photonPersistentDisk": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
		return required(s.PhotonPersistentDisk.PdID, path.Child("pdID"))
	},
	"portworxVolume": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
		return required(s.PortworxVolume.VolumeID, path.Child("volumeID"))
	},
	"azureDisk": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
		return validateAzureDisk(s.AzureDisk, path)
	},
	"scaleIO": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
		return validateScaleIO(s.ScaleIO.Gateway, s.ScaleIO.System, s.ScaleIO.VolumeName, path)
	},
	"storageos": func(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
		errs := validateStorageOS(s.StorageOS.VolumeName, s.StorageOS.VolumeNamespace, path)
		if r := s.StorageOS.SecretRef; r != nil {
			errs = append(errs, required(r.Name, path.Child("secretRef", "name"))...)
		}
		return errs
	},
}
