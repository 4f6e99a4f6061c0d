package api

import "testing"

const (
	apiServices    = "apiservices.apiregistration.k8s.io"
	goodAPIService = `
metadata: {name: v1.shop.example}
spec:
  group: shop.example
  version: v1
  groupPriorityMinimum: 1000
  versionPriority: 15
  service: {namespace: shop, name: api}
  caBundle: Y2E=
`
)

func TestAPIServiceValidation(t *testing.T) {
	const local = "  service: {namespace: shop, name: api}\n"
	runBad(t, apiServices, goodAPIService, []badObject{
		{"name", []string{"name: v1.shop", "name: v1.mall"}, []string{`metadata.name: Invalid value: "v1.mall.example": must be ` + "`" + `spec.version+"."+spec.group` + "`" + `: "v1.shop.example"`}},
		{"no group", []string{"v1.shop.example", "v2.", "group: shop.example", "group: ''", "version: v1", "version: v2"}, []string{
			"spec.group: Required value: only v1 may have an empty group", "spec.service: Forbidden"}},
		{"group", []string{"v1.shop.example", "v1.Shop", "group: shop.example", "group: Shop"}, []string{`spec.group: Invalid value: "Shop": a lowercase RFC 1123`}},
		{"version", []string{"v1.shop.example", "1.shop.example", "version: v1", "version: '1'"}, []string{`spec.version: Invalid value: "1"`}},
		{"priorities", []string{"groupPriorityMinimum: 1000", "groupPriorityMinimum: 20001", "versionPriority: 15", "versionPriority: 0"}, []string{
			"spec.groupPriorityMinimum: Invalid value: 20001: must be positive and less than 20000", "spec.versionPriority: Invalid value: 0: must be positive and less than 1000"}},
		{"priorities of the other side", []string{"groupPriorityMinimum: 1000", "groupPriorityMinimum: 0", "versionPriority: 15", "versionPriority: 1001"}, []string{
			"spec.groupPriorityMinimum: Invalid value: 0", "spec.versionPriority: Invalid value: 1001"}},
		{"service", []string{"namespace: shop, name: api", "port: 70000"}, []string{
			"spec.service.namespace: Required value", "spec.service.name: Required value", "spec.service.port: Invalid value: 70000: must be between 1 and 65535, inclusive"}},
		{"both ways", []string{"caBundle", "insecureSkipTLSVerify: true\n  caBundle"}, []string{"spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present"}},
		{"local", []string{local, "  insecureSkipTLSVerify: true\n"}, []string{
			`spec.caBundle: Invalid value: "2 bytes": local APIServices may not have a caBundle`, "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify"}},
		{"the core group", []string{"v1.shop.example", "v1.", "group: shop.example", "group: ''"}, []string{"spec.service: Forbidden: the core group is served by the cluster itself"}},
		{"a local one of the core group", []string{"v1.shop.example", "v1.", "group: shop.example", "group: ''", local, "", "  caBundle: Y2E=\n", ""}, nil},
	})
	sameYAML(t, load(t, apiServices, goodAPIService), `
metadata:
  name: v1.shop.example
spec:
  caBundle: Y2E=
  group: shop.example
  groupPriorityMinimum: 1000
  service:
    name: api
    namespace: shop
    port: 443
  version: v1
  versionPriority: 15
status: {}
`)
}

func TestAPIServiceTable(t *testing.T) {
	const head = "Name|Service|Available|Age"
	named := "metadata: {name: v1.a, " + born + "}\n"
	sameTable(t, apiServices, head, named, "v1.a|Local|Unknown|5m")
	sameTable(t, apiServices, head, named+"status: {conditions: [{type: Available, status: 'True', reason: Local}]}", "v1.a|Local|True|5m")
	sameTable(t, apiServices, head, named+"spec: {service: {namespace: a, name: b}}\nstatus: {conditions: [{type: Available, status: 'False', reason: MissingEndpoints}]}",
		"v1.a|a/b|False (MissingEndpoints)|5m")
}
