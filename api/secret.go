package api

import (
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: corev1.SchemeGroupVersion,
		Name:         "Secret", Resource: "secrets", Singular: "secret",
		New:            func() runtime.Object { return &corev1.Secret{} },
		NewList:        func() runtime.Object { return &corev1.SecretList{} },
		Default:        with(defaultSecret),
		Validate:       check(validateSecret),
		ValidateUpdate: checkOld(validateSecretUpdate),
		Columns: []metav1.TableColumnDefinition{
			nameColumn, textColumn("Type", "What the secret is for."),
			numberColumn("Data", "How many keys the secret holds."), ageColumn,
		},
		Row: row(func(s *corev1.Secret, now time.Time) []any {
			return []any{s.Name, string(s.Type), int64(len(s.Data)), age(s.CreationTimestamp, now)}
		}),
		FieldLabels: []string{"type"},
		Fields:      selectable(func(s *corev1.Secret) fields.Set { return fields.Set{"type": string(s.Type)} }),
	})
}

// defaultSecret also moves stringData, which is only ever written, into data.
func defaultSecret(s *corev1.Secret) {
	if s.Type == "" {
		s.Type = corev1.SecretTypeOpaque
	}
	if len(s.StringData) > 0 && s.Data == nil {
		s.Data = make(map[string][]byte, len(s.StringData))
	}
	for k, v := range s.StringData {
		s.Data[k] = []byte(v)
	}
	s.StringData = nil
}

func validateSecret(s *corev1.Secret) (errs field.ErrorList) {
	size, path := 0, field.NewPath("data")
	for _, key := range sortedKeys(s.Data) {
		errs = append(errs, validateDataKey(key, path)...)
		size += len(s.Data[key])
	}
	if size > dataBytesMax {
		errs = append(errs, field.TooLong(path, "", dataBytesMax))
	}
	return append(errs, validateSecretType(s, path)...)
}

// validateSecretType checks that a secret of a known type holds what the type promises.
func validateSecretType(s *corev1.Secret, path *field.Path) (errs field.ErrorList) {
	need := func(keys ...string) {
		for _, key := range keys {
			if _, ok := s.Data[key]; !ok {
				errs = append(errs, field.Required(path.Key(key), ""))
			}
		}
	}
	switch s.Type {
	case corev1.SecretTypeServiceAccountToken:
		if s.Annotations[corev1.ServiceAccountNameKey] == "" {
			errs = append(errs, field.Required(field.NewPath("metadata", "annotations").Key(corev1.ServiceAccountNameKey), ""))
		}
	case corev1.SecretTypeDockercfg:
		errs = append(errs, validateDockerKey(s, path, corev1.DockerConfigKey)...)
	case corev1.SecretTypeDockerConfigJson:
		errs = append(errs, validateDockerKey(s, path, corev1.DockerConfigJsonKey)...)
	case corev1.SecretTypeBasicAuth:
		_, user := s.Data[corev1.BasicAuthUsernameKey]
		_, password := s.Data[corev1.BasicAuthPasswordKey]
		if !user && !password {
			need(corev1.BasicAuthUsernameKey, corev1.BasicAuthPasswordKey)
		}
	case corev1.SecretTypeSSHAuth:
		if len(s.Data[corev1.SSHAuthPrivateKey]) == 0 {
			errs = append(errs, field.Required(path.Key(corev1.SSHAuthPrivateKey), ""))
		}
	case corev1.SecretTypeTLS:
		need(corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
	}
	return errs
}

func validateDockerKey(s *corev1.Secret, path *field.Path, key string) field.ErrorList {
	raw, ok := s.Data[key]
	if !ok {
		return field.ErrorList{field.Required(path.Key(key), "")}
	}
	if err := json.Unmarshal(raw, &map[string]any{}); err != nil {
		return field.ErrorList{field.Invalid(path.Key(key), "<secret contents redacted>", err.Error())}
	}
	return nil
}

func validateSecretUpdate(s, old *corev1.Secret) (errs field.ErrorList) {
	errs = append(errs, validation.ValidateImmutableField(s.Type, old.Type, field.NewPath("type"))...)
	if isTrue(old.Immutable) {
		errs = append(errs, stillImmutable(s.Immutable)...)
		errs = append(errs, frozen(s.Data, old.Data, field.NewPath("data"))...)
	}
	return append(errs, validateSecret(s)...)
}
