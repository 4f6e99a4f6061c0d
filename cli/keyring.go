package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peapod-sh/peapod/server"
)

// keyringCommand shows and changes the keys that the cluster makes for itself.
func keyringCommand(o *onMachine) *cobra.Command {
	c := &cobra.Command{Use: "keyring", Short: "The keys that encrypt what servers write to disk, and those that sign service account tokens"}
	list := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the keys, and which servers still have something under older ones", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var all []server.KeyInfo
			if err := o.server(c.Context(), http.MethodGet, "/keyring", &all); err != nil {
				return err
			}
			rows := [][]string{{"KEY", "FOR", "AGE", "IN USE", "NOT YET ON"}}
			for i := range all {
				rows = append(rows, keyRow(&all[i]))
			}
			table(c.OutOrStdout(), rows...)
			return nil
		}}
	var purpose string
	rotate := &cobra.Command{Use: "rotate", Short: "Make a new key that is used from now on",
		Long: "Makes a new key that is used from now on. Each server then writes its snapshots anew and gives up the log from before, which may take until\n" +
			"nobody writes for a moment; `peapod operator keyring list` tells which servers have yet to. Tokens that older keys have signed stay good until\n" +
			"those keys are removed.",
		Example: "  peapod operator keyring rotate\n  peapod operator keyring rotate --for tokens", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
			var id string
			if err := o.server(c.Context(), http.MethodPost, "/keyring?for="+url.QueryEscape(purpose), &id); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "key %s is in use now\n", id)
			return nil
		}}
	rotate.Flags().StringVar(&purpose, "for", "disk", "what the key is for: disk or tokens")
	remove := &cobra.Command{Use: "remove KEY", Aliases: []string{"rm"}, Short: "Forget an old key that nothing is under any more",
		Long: "Forgets an old key. A key for the disk is refused while any server still has something under it; one for tokens while a Secret has a token that it\n" +
			"signed. All other tokens that it signed are refused from then on: pods have new ones an hour after a rotation.",
		Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, args []string) error {
			if err := o.server(c.Context(), http.MethodDelete, "/keyring/"+url.PathEscape(args[0]), nil); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "key %s removed\n", args[0])
			return nil
		}}
	c.AddCommand(list, rotate, remove)
	return c
}

func keyRow(k *server.KeyInfo) []string {
	made, used := "-", ""
	if !k.Created.IsZero() {
		made = age(k.Created)
	}
	if k.InUse {
		used = "yes"
	}
	return []string{k.ID, k.For, made, used, strings.Join(k.Pending, ",")}
}
