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
	snapshot.AddCommand(&cobra.Command{Use: "save FILE", Short: "Write the state as this server has it to a file", Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, args []string) error {
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
	c.AddCommand(raft, snapshot, rebalanceCommand(o))
	return c
}

// imageRow is what of an image is shown.
type imageRow struct {
	ID, Digest string
	Names      []string
	Size       int64
	Created    time.Time
}

// layerRow is a layer that is being downloaded.
type layerRow struct {
	Layer        string
	Bytes, Total int64
}

func imageCommand() *cobra.Command {
	o := &onMachine{}
	c := &cobra.Command{Use: "image", Short: "Load, list and remove the images of this machine's node"}
	o.flag(c)
	show := func(c *cobra.Command, verb string, list []imageRow) {
		for _, i := range list {
			fmt.Fprintf(c.OutOrStdout(), "%s %s\n", verb, strings.Join(append(i.Names, shortID(i.ID)), " "))
		}
	}
	load := &cobra.Command{Use: "load FILE", Short: "Load a docker or OCI archive (- is standard input)", Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, args []string) error {
		in := io.Reader(os.Stdin)
		if args[0] != "-" {
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			in = f
		}
		var list []imageRow
		if err := o.node(c.Context(), http.MethodPost, "/images", in, &list); err != nil {
			return err
		}
		show(c, "loaded", list)
		return nil
	}}
	pull := &cobra.Command{Use: "pull IMAGE", Short: "Pull an image from its registry", Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, args []string) error {
		var list []imageRow
		if err := o.node(c.Context(), http.MethodPost, "/images/pull?ref="+url.QueryEscape(args[0]), nil, &list); err != nil {
			return err
		}
		show(c, "pulled", list)
		return nil
	}}
	list := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the images", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		var all []imageRow
		if err := o.node(c.Context(), http.MethodGet, "/images", nil, &all); err != nil {
			return err
		}
		rows := [][]string{{"IMAGE", "ID", "SIZE", "CREATED"}}
		for _, i := range all {
			name := "<none>"
			if len(i.Names) > 0 {
				name = i.Names[0]
			}
			rows = append(rows, []string{name, shortID(i.ID), fmt.Sprintf("%.1f MB", float64(i.Size)/1e6), age(i.Created)})
		}
		var coming []layerRow
		if err := o.node(c.Context(), http.MethodGet, "/images/pulls", nil, &coming); err != nil {
			return err
		}
		for _, l := range coming {
			rows = append(rows, []string{"<layer on its way>", shortID(l.Layer), fmt.Sprintf("%.1f of %.1f MB", float64(l.Bytes)/1e6, float64(l.Total)/1e6), ""})
		}
		table(c.OutOrStdout(), rows...)
		return nil
	}}
	rm := &cobra.Command{Use: "rm IMAGE", Short: "Remove an image that no pod uses", Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, args []string) error {
		return o.node(c.Context(), http.MethodDelete, "/images?ref="+url.QueryEscape(args[0]), nil, nil)
	}}
	prune := &cobra.Command{Use: "prune", Short: "Remove all images that no pod uses", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		var done struct {
			Bytes  int64
			Images []string
		}
		if err := o.node(c.Context(), http.MethodPost, "/images/prune", nil, &done); err != nil {
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "removed %d images, %.1f MB\n", len(done.Images), float64(done.Bytes)/1e6)
		return nil
	}}
	imp := &cobra.Command{Use: "import PATH IMAGE", Short: "Make an image of a root file system (a directory or a tar)", Args: cobra.ExactArgs(2), RunE: func(c *cobra.Command, args []string) error {
		path, err := filepath.Abs(args[0])
		if err != nil {
			return err
		}
		var list []imageRow
		if err := o.node(c.Context(), http.MethodPost, "/images/import?path="+url.QueryEscape(path)+"&ref="+url.QueryEscape(args[1]), nil, &list); err != nil {
			return err
		}
		show(c, "imported", list)
		return nil
	}}
	c.AddCommand(load, pull, list, rm, prune, imp)
	return c
}

func shortID(id string) string {
	_, hex, _ := strings.Cut(id, ":")
	return hex[:min(12, len(hex))]
}
