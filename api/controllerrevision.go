package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: appsv1.SchemeGroupVersion,
		Name:         "ControllerRevision", Resource: "controllerrevisions", Singular: "controllerrevision",
		New:            func() runtime.Object { return &appsv1.ControllerRevision{} },
		NewList:        func() runtime.Object { return &appsv1.ControllerRevisionList{} },
		Validate:       check(validateControllerRevision),
		ValidateUpdate: checkOld(validateControllerRevisionUpdate),
		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			textColumn("Controller", "Whose state the revision keeps."),
			numberColumn("Revision", "The number of the revision in its history."),
			ageColumn,
		},
		Row: row(func(r *appsv1.ControllerRevision, now time.Time) []any {
			return []any{r.Name, controllerText(r), r.Revision, age(r.CreationTimestamp, now)}
		}),
	})
}

// controllerText names the controller of an object as "statefulset.apps/web".
func controllerText(o metav1.Object) string {
	owner := metav1.GetControllerOfNoCopy(o)
	if owner == nil {
		return cellNone
	}
	gv, err := schema.ParseGroupVersion(owner.APIVersion)
	if err != nil {
		gv = schema.GroupVersion{} // validation of metadata keeps such owners out
	}
	return strings.ToLower(gv.WithKind(owner.Kind).GroupKind().String()) + "/" + owner.Name
}

// validateControllerRevision wants a JSON object: whoever rolls back patches with it.
func validateControllerRevision(r *appsv1.ControllerRevision) field.ErrorList {
	errs, data := validateRevisionNumber(r), field.NewPath("data")
	if r.Data.Raw == nil {
		return append(errs, field.Required(data, "data is mandatory"))
	}
	var object map[string]any
	if err := json.Unmarshal(r.Data.Raw, &object); err != nil {
		return append(errs, field.Invalid(data, "<value omitted>", fmt.Sprintf("error parsing data: %v", err)))
	}
	if object == nil {
		return append(errs, field.Required(data, "data is mandatory"))
	}
	return errs
}

func validateRevisionNumber(r *appsv1.ControllerRevision) field.ErrorList {
	return nonnegative(r.Revision, field.NewPath("revision"))
}

func validateControllerRevisionUpdate(r, old *appsv1.ControllerRevision) field.ErrorList {
	return append(validateRevisionNumber(r), validation.ValidateImmutableField(r.Data, old.Data, field.NewPath("data"))...)
}
