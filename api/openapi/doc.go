// Package openapi holds the OpenAPI definitions of every stable Kubernetes type (and of those few others that stable types refer to), made from the
// comments and types of k8s.io/api, k8s.io/apimachinery and k8s.io/kube-aggregator by openapi-gen.
//
// The only exported name is GetOpenAPIDefinitions, of the shape that
// k8s.io/apiserver's DefaultOpenAPIConfig takes. Building the definitions costs tens of
// milliseconds and some megabytes, so the server asks for them on the first request for a schema.
// The names of the models are those that the types themselves give (OpenAPIModelName).
//
// It must not know: anything of this module. After an upgrade of k8s.io/api run `go generate`.
package openapi

//go:generate go run k8s.io/kube-openapi/cmd/openapi-gen@v0.0.0-20260721132016-d427ff9ee9ad --output-dir . --output-pkg github.com/peapod-sh/peapod/api/openapi --output-file zz_generated.openapi.go --go-header-file header.txt --report-filename /dev/null k8s.io/api/core/v1 k8s.io/api/apps/v1 k8s.io/api/batch/v1 k8s.io/api/autoscaling/v1 k8s.io/api/autoscaling/v2 k8s.io/api/policy/v1 k8s.io/api/networking/v1 k8s.io/api/discovery/v1 k8s.io/api/events/v1 k8s.io/api/coordination/v1 k8s.io/api/scheduling/v1alpha3 k8s.io/api/storage/v1 k8s.io/api/storagemigration/v1 k8s.io/api/scheduling/v1 k8s.io/api/rbac/v1 k8s.io/api/authentication/v1 k8s.io/api/authorization/v1 k8s.io/api/certificates/v1 k8s.io/api/node/v1 k8s.io/api/admissionregistration/v1 k8s.io/api/flowcontrol/v1 k8s.io/api/resource/v1 k8s.io/metrics/pkg/apis/metrics/v1beta1 k8s.io/kube-aggregator/pkg/apis/apiregistration/v1 k8s.io/apimachinery/pkg/apis/meta/v1 k8s.io/apimachinery/pkg/runtime k8s.io/apimachinery/pkg/version k8s.io/apimachinery/pkg/api/resource k8s.io/apimachinery/pkg/util/intstr
