package pki

import (
	"fmt"
	"os"
	"path/filepath"

	clientcmdv1 "k8s.io/client-go/tools/clientcmd/api/v1"
	"sigs.k8s.io/yaml"
)

// Kubeconfig is one user's way into one cluster.
type Kubeconfig struct {
	Cluster string // name of the cluster, the user's context has it too
	Server  string // https://host:port
	CA      []byte // PEM
	User    string
	Client  Pair
}

// Encode writes the kubeconfig file's content, which holds the user's key.
func (k Kubeconfig) Encode() ([]byte, error) {
	file := clientcmdv1.Config{
		APIVersion: "v1",
		Kind:       "Config",
		Clusters: []clientcmdv1.NamedCluster{{Name: k.Cluster, Cluster: clientcmdv1.Cluster{
			Server: k.Server, CertificateAuthorityData: k.CA}}},
		AuthInfos: []clientcmdv1.NamedAuthInfo{{Name: k.User, AuthInfo: clientcmdv1.AuthInfo{
			ClientCertificateData: k.Client.Cert, ClientKeyData: k.Client.Key}}},
		Contexts: []clientcmdv1.NamedContext{{Name: k.Cluster, Context: clientcmdv1.Context{
			Cluster: k.Cluster, AuthInfo: k.User, Namespace: "default"}}},
		CurrentContext: k.Cluster,
	}
	text, err := yaml.Marshal(file)
	if err != nil {
		return nil, fmt.Errorf("encoding a kubeconfig: %w", err)
	}
	return text, nil
}

// WriteFile puts the kubeconfig at path, readable by the owner only. A reader sees the old file or the
// new one, never a half.
func (k Kubeconfig) WriteFile(path string) error {
	text, err := k.Encode()
	if err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".kubeconfig-*") // mode 0600
	if err != nil {
		return fmt.Errorf("writing the kubeconfig %s: %w", path, err)
	}
	defer os.Remove(temporary.Name())
	if _, err = temporary.Write(text); err == nil {
		err = temporary.Close()
	} else {
		temporary.Close()
	}
	if err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing the kubeconfig %s: %w", path, err)
	}
	return nil
}
