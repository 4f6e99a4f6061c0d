package cni

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containernetworking/cni/libcni"

	ours "github.com/peapod-sh/peapod/internal/cni"
)

// read reads a network's configuration: of a directory the first file by name, as container runtimes do. Ours, which
// leads a container runtime back to this agent, is passed over.
func read(path string) (*libcni.NetworkConfigList, error) {
	files := []string{path}
	if at, err := os.Stat(path); err != nil {
		return nil, err
	} else if at.IsDir() {
		if files, err = libcni.ConfFiles(path, []string{".conf", ".conflist", ".json"}); err != nil {
			return nil, err
		}
	}
	slices.Sort(files)
	for _, f := range files {
		list, err := readFile(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		if !slices.ContainsFunc(list.Plugins, func(p *libcni.PluginConfig) bool { return p.Network.Type == ours.Program }) {
			return list, nil
		}
	}
	return nil, fmt.Errorf("%s has no network configuration: a file that ends in .conflist, .conf or .json", path)
}

// readFile reads a list of plugins, or, from a file that does not end in .conflist, also a single one.
func readFile(path string) (*libcni.NetworkConfigList, error) {
	list, err := libcni.NetworkConfFromFile(path)
	if err == nil || filepath.Ext(path) == ".conflist" {
		return list, err
	}
	b, failed := os.ReadFile(path)
	if failed != nil {
		return nil, failed
	}
	one, failed := libcni.NetworkPluginConfFromBytes(b)
	if failed != nil {
		return nil, err // of a list, which it may have been meant to be
	}
	return libcni.ConfListFromConf(one) //nolint:staticcheck // old, but other runtimes still read such files
}

// check has every plugin tell that it knows the configuration's version, and finds those that give addresses.
func (n *Network) check(ctx context.Context) error {
	capabilities, err := n.cni.ValidateNetworkList(ctx, n.list)
	if err != nil {
		return err
	}
	n.capabilities = capabilities
	var faults []error
	for _, p := range n.list.Plugins {
		if t := p.Network.IPAM.Type; t != "" {
			if _, err := n.cni.GetVersionInfo(ctx, t); err != nil {
				faults = append(faults, fmt.Errorf("plugin %q of plugin %q: %w", t, p.Network.Type, err))
			}
		}
	}
	return errors.Join(faults...)
}

// plugins are the names of those in the list.
func plugins(list *libcni.NetworkConfigList) string {
	var names []string
	for _, p := range list.Plugins {
		names = append(names, p.Network.Type)
	}
	return strings.Join(names, ", ")
}
