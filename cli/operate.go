package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/peapod-sh/peapod/internal/adminsock"
	"github.com/peapod-sh/peapod/server"
)

// onMachine is a command that talks to an agent of this machine.
type onMachine struct{ dataDir string }

func (o *onMachine) flag(c *cobra.Command) {
	c.PersistentFlags().StringVar(&o.dataDir, "data-dir", "/var/lib/peapod", "data directory of the agent on this machine")
}

func (o *onMachine) server(ctx context.Context, method, path string, out any) error {
	return adminsock.Call(ctx, filepath.Join(o.dataDir, "server", adminsock.Name), method, path, nil, out)
}

func (o *onMachine) node(ctx context.Context, method, path string, body io.Reader, out any) error {
	return adminsock.Call(ctx, filepath.Join(o.dataDir, "node", adminsock.Name), method, path, body, out)
}

// table prints rows aligned, the header first.
func table(w io.Writer, rows ...[]string) {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	_ = t.Flush() // to a terminal or a file; its error shows in the next write
}

func age(t time.Time) string { return duration.HumanDuration(time.Since(t)) }

func tokenCommand() *cobra.Command {
	o := &onMachine{}
	c := &cobra.Command{Use: "token", Short: "Make, list and revoke join tokens (on a server's machine)"}
	o.flag(c)
	var ttl time.Duration
	create := &cobra.Command{Use: "create", Short: "Make a join token and print it", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		var t server.NewToken
		if err := o.server(c.Context(), http.MethodPost, "/tokens?ttl="+ttl.String(), &t); err != nil {
			return err
		}
		fmt.Fprintln(c.OutOrStdout(), t.Token)
		return nil
	}}
	create.Flags().DurationVar(&ttl, "ttl", 24*time.Hour, "time after which it is useless; 0 is never")
	list := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the join tokens", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		var all []server.TokenInfo
		if err := o.server(c.Context(), http.MethodGet, "/tokens", &all); err != nil {
			return err
		}
		rows := [][]string{{"ID", "AGE", "EXPIRES"}}
		for _, t := range all {
			expires := "never"
			if !t.Expires.IsZero() {
				expires = "in " + duration.HumanDuration(time.Until(t.Expires))
				if time.Now().After(t.Expires) {
					expires = "expired"
				}
			}
			rows = append(rows, []string{t.ID, age(t.Created), expires})
		}
		table(c.OutOrStdout(), rows...)
		return nil
	}}
	revoke := &cobra.Command{Use: "revoke ID", Short: "Make a join token useless", Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, args []string) error {
		if err := o.server(c.Context(), http.MethodDelete, "/tokens/"+url.PathEscape(args[0]), nil); err != nil {
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "token %s revoked\n", args[0])
		return nil
	}}
	c.AddCommand(create, list, revoke)
	return c
}

func operatorCommand() *cobra.Command {
	o := &onMachine{}
	c := &cobra.Command{Use: "operator", Short: "Look after the servers (on a server's machine)"}
	o.flag(c)
	raft := &cobra.Command{Use: "raft", Short: "The servers and who leads"}
	raft.AddCommand(&cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the servers", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		var all []server.Member
		if err := o.server(c.Context(), http.MethodGet, "/raft", &all); err != nil {
			return err
		}
		rows := [][]string{{"SERVER", "ADDRESS", "API", "LEADER"}}
		for _, m := range all {
			leader := ""
			if m.Leader {
				leader = "yes"
			}
			rows = append(rows, []string{m.Name, m.Address, m.API, leader})
		}
		table(c.OutOrStdout(), rows...)
		return nil
	}}, &cobra.Command{Use: "remove SERVER", Short: "Take a server that will not come back out of the quorum", Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, args []string) error {
		return o.server(c.Context(), http.MethodDelete, "/raft/"+url.PathEscape(args[0]), nil)
	}}, &cobra.Command{Use: "transfer", Short: "Let another server lead", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		return o.server(c.Context(), http.MethodPost, "/raft/transfer", nil)
	}})
	snapshot := &cobra.Command{Use: "snapshot", Short: "Copy the whole state"}
	snapshot.AddCommand(&cobra.Command{Use: "save FILE", Short: "Write the state as this server has it to a file, encrypted as on its disk", Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, args []string) error {
		f, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		if err := o.server(c.Context(), http.MethodGet, "/snapshot", f); err != nil {
			f.Close()
			return err
		}
		return f.Close()
	}})
	doctor := &cobra.Command{Use: "doctor", Short: "Look for what makes the cluster's requests fail: webhooks that do not answer, audit events that were lost", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		var all []server.Complaint
		if err := o.server(c.Context(), http.MethodGet, "/doctor", &all); err != nil {
			return err
		}
		for _, f := range all {
			fmt.Fprintf(c.OutOrStdout(), "✗ %s: %s\n", f.What, f.Fault)
		}
		if len(all) > 0 {
			return fmt.Errorf("%d things are to be mended", len(all))
		}
		fmt.Fprintln(c.OutOrStdout(), "✓ nothing is to be mended")
		return nil
	}}
	c.AddCommand(raft, snapshot, keyringCommand(o), rebalanceCommand(o), doctor)
	return c
}
