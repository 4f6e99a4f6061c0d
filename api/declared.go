package api

import (
	"context"

	"k8s.io/apimachinery/pkg/api/operation"
	"k8s.io/apimachinery/pkg/api/validate"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// declaredOptions are the feature gates that validation rules of k8s.io/api ask for; alpha ones are off.
var declaredOptions = map[string]bool{"DRAPartitionableDevicesType": false}

// declared runs the validation that k8s.io/api publishes for a type, made from the rules in its comments, and keeps what the official API
// server would show of it: rules still marked alpha are only compared there. old is nil on create; what did not change is not checked.
// Most of a type's rules are not declared, so this stands beside a function of ours that checks the rest.
func declared[T any](
	rules func(ctx context.Context, op operation.Operation, path *field.Path, obj, old *T) field.ErrorList, path *field.Path, obj, old *T,
) field.ErrorList {
	op := operation.Operation{Type: operation.Create, Options: declaredOptions}
	if old != nil {
		op.Type = operation.Update
	}
	ctx := context.Background()
	return validate.FilterEnforcedDeclarativeErrors(ctx, rules(ctx, op, path, obj, old), true)
}
