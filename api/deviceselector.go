package api

import (
	"fmt"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	dracel "k8s.io/dynamic-resource-allocation/cel"
)

// selectorFeatures are what expressions about devices may use beside what they always could.
var selectorFeatures = dracel.Features{EnableConsumableCapacity: true}

// validateDeviceSelectors compiles the expressions in the environment in which Kubernetes' scheduler evaluates them. One that was accepted
// before, stored, may use what a new one may not.
func validateDeviceSelectors(list []resourcev1.DeviceSelector, path *field.Path, stored bool) (errs field.ErrorList) {
	for i := range list {
		at := path.Index(i).Child("cel")
		if list[i].CEL == nil {
			errs = append(errs, field.Required(at, ""))
			continue
		}
		errs = append(errs, validateDeviceExpression(list[i].CEL.Expression, at.Child("expression"), stored)...)
	}
	return errs
}

func validateDeviceExpression(text string, path *field.Path, stored bool) field.ErrorList {
	if len(text) > resourcev1.CELSelectorExpressionMaxLength {
		return field.ErrorList{field.TooLong(path, text, resourcev1.CELSelectorExpressionMaxLength)}
	}
	kind := environment.NewExpressions
	if stored {
		kind = environment.StoredExpressions
	}
	result := dracel.GetCompiler(selectorFeatures).CompileCELExpression(text, dracel.Options{EnvType: &kind})
	switch {
	case result.Error == nil && result.MaxCost > resourcev1.CELSelectorExpressionMaxCost:
		return field.ErrorList{field.Forbidden(path, "too complex, exceeds cost limit")}
	case result.Error == nil:
		return nil
	case result.Error.Type == apiservercel.ErrorTypeInvalid:
		return field.ErrorList{field.Invalid(path, text, result.Error.Detail)}
	}
	return field.ErrorList{field.InternalError(path, fmt.Errorf("compiling the expression: %w", result.Error))}
}
