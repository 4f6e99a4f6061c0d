package kube_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/kubectl/pkg/cmd"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
)

// kubectl runs the unmodified command in this process; what it prints comes back, its failure fails the test.
func (h *harness) kubectl(stdin string, args ...string) string {
	h.Helper()
	out, err := h.tryKubectl(stdin, args...)
	if err != "" {
		h.Fatalf("kubectl %s: %s\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

type kubectlFatal string

func (h *harness) tryKubectl(stdin string, args ...string) (out, failure string) {
	h.Helper()
	dir := h.TempDir()
	c := clientcmdapi.NewConfig()
	c.Clusters["c"] = &clientcmdapi.Cluster{Server: h.config.Host, CertificateAuthorityData: h.config.CAData}
	c.AuthInfos["u"] = &clientcmdapi.AuthInfo{ClientCertificateData: h.config.CertData, ClientKeyData: h.config.KeyData}
	c.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	c.CurrentContext = "x"
	file := filepath.Join(dir, "kubeconfig")
	if err := clientcmd.WriteToFile(*c, file); err != nil {
		h.Fatal(err)
	}
	manifest := filepath.Join(dir, "stdin.yaml") // kubectl reads "-" from the process's own stdin
	if err := os.WriteFile(manifest, []byte(stdin), 0o600); err != nil {
		h.Fatal(err)
	}
	args = slices.Clone(args)
	for i, a := range args {
		if a == "-" {
			args[i] = manifest
		}
	}
	var o, e bytes.Buffer
	cmdutil.BehaviorOnFatal(func(s string, code int) { panic(kubectlFatal(s)) })
	defer cmdutil.DefaultBehaviorOnFatal()
	defer func() {
		out = o.String() + e.String()
		if f, ok := recover().(kubectlFatal); ok {
			failure = string(f) + " "
		}
	}()
	flags := genericclioptions.NewConfigFlags(true).WithDiscoveryBurst(1000).WithDiscoveryQPS(1000)
	k := cmd.NewKubectlCommand(cmd.KubectlOptions{ConfigFlags: flags, Arguments: append([]string{"kubectl"}, args...),
		IOStreams: genericiooptions.IOStreams{In: strings.NewReader(stdin), Out: &o, ErrOut: &e}})
	k.SetArgs(append([]string{"--kubeconfig", file, "--cache-dir", filepath.Join(dir, "cache")}, args...))
	k.SetOut(&o)
	k.SetErr(&e)
	os.Unsetenv("KUBECONFIG")
	if err := k.Execute(); err != nil {
		failure = err.Error()
	}
	return o.String() + e.String(), failure
}

const deploymentYAML = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "peapod/demo:1", ports: [{containerPort: 8080}]}
`

func TestKubectlOnDeployments(t *testing.T) {
	h := start(t)
	want := func(out, part string) {
		t.Helper()
		if !strings.Contains(out, part) {
			t.Fatalf("%q is not in:\n%s", part, out)
		}
	}
	want(h.kubectl(deploymentYAML, "apply", "-f", "-"), "deployment.apps/web created")
	want(h.kubectl(deploymentYAML, "apply", "-f", "-"), "unchanged")
	want(h.kubectl("", "get", "deploy"), "UP-TO-DATE")
	want(h.kubectl("", "get", "deploy", "web", "-o", "wide"), "peapod/demo:1")
	want(h.kubectl("", "scale", "deploy/web", "--replicas=3"), "scaled")
	want(h.kubectl("", "get", "deploy", "web", "-o", "jsonpath={.spec.replicas} {.metadata.generation}"), "3 2")
	want(h.kubectl("", "set", "image", "deploy/web", "web=peapod/demo:2"), "image updated")
	want(h.kubectl(deploymentYAML, "apply", "--server-side", "--force-conflicts", "-f", "-"), "serverside-applied")
	want(h.kubectl("", "label", "deploy/web", "tier=front"), "labeled")
	want(h.kubectl("", "get", "deploy", "-l", "tier=front", "-A", "-o", "name"), "deployment.apps/web")
	want(h.kubectl("", "patch", "deploy/web", "--type=json", "-p", `[{"op":"replace","path":"/spec/replicas","value":5}]`), "patched")
	want(h.kubectl("", "create", "configmap", "c", "--from-literal=k=v"), "created")
	want(h.kubectl("", "get", "cm", "c", "-o", "yaml"), "k: v")
	want(h.kubectl("", "create", "configmap", "d", "--from-literal=k=v", "--dry-run=server"), "server dry run")
	if out, failed := h.tryKubectl("", "get", "cm", "d"); failed == "" {
		t.Fatalf("a dry run made an object: %s", out)
	}
	want(h.kubectl("", "explain", "deployment.spec.strategy"), "rollingUpdate")
	want(h.kubectl("", "api-resources"), "deployments")
	want(h.kubectl("", "describe", "deploy", "web"), "peapod/demo:1")
	want(h.kubectl("", "delete", "deploy", "web"), "deleted")
	if out, failed := h.tryKubectl(strings.Replace(deploymentYAML, "replicas", "replicsa", 1), "apply", "-f", "-"); !strings.Contains(failed, "unknown field") {
		t.Fatalf("an unknown field: %s %s", failed, out)
	}
}

func TestKubectlUnknownKind(t *testing.T) {
	h := start(t)
	_, failure := h.tryKubectl("apiVersion: apps/v1\nkind: Deploymint\nmetadata: {name: web}\n", "apply", "-f", "-")
	if !strings.Contains(failure, `no matches for kind "Deploymint" in version "apps/v1"`) {
		t.Errorf("an unknown kind: %s", failure)
	}
}
