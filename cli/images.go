package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// imageCommands speak with this machine's node of its images.
type imageCommands struct{ *onMachine }

func imageCommand() *cobra.Command {
	o := imageCommands{&onMachine{}}
	c := &cobra.Command{Use: "image", Short: "Load, list and remove the images of this machine's node"}
	o.flag(c)
	c.AddCommand(
		&cobra.Command{Use: "load FILE", Short: "Load a docker or OCI archive (- is standard input)", Args: cobra.ExactArgs(1), RunE: o.load},
		&cobra.Command{Use: "pull IMAGE", Short: "Pull an image from its registry", Args: cobra.ExactArgs(1), RunE: o.pull},
		&cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the images", Args: cobra.NoArgs, RunE: o.list},
		&cobra.Command{Use: "rm IMAGE", Short: "Remove an image that no pod uses", Args: cobra.ExactArgs(1), RunE: o.remove},
		&cobra.Command{Use: "prune", Short: "Remove all images that no pod uses", Args: cobra.NoArgs, RunE: o.prune},
		&cobra.Command{Use: "import PATH IMAGE", Short: "Make an image of a root file system (a directory or a tar)", Args: cobra.ExactArgs(2), RunE: o.importRootfs},
	)
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

// show says what was done with which images.
func show(c *cobra.Command, verb string, list []imageRow) {
	for _, i := range list {
		fmt.Fprintf(c.OutOrStdout(), "%s %s\n", verb, strings.Join(append(i.Names, shortID(i.ID)), " "))
	}
}

func (o imageCommands) load(c *cobra.Command, args []string) error {
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
}

func (o imageCommands) pull(c *cobra.Command, args []string) error {
	var list []imageRow
	if err := o.node(c.Context(), http.MethodPost, "/images/pull?ref="+url.QueryEscape(args[0]), nil, &list); err != nil {
		return err
	}
	show(c, "pulled", list)
	return nil
}

func (o imageCommands) list(c *cobra.Command, _ []string) error {
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
}

func (o imageCommands) remove(c *cobra.Command, args []string) error {
	return o.node(c.Context(), http.MethodDelete, "/images?ref="+url.QueryEscape(args[0]), nil, nil)
}

func (o imageCommands) prune(c *cobra.Command, _ []string) error {
	var done struct {
		Bytes  int64
		Images []string
	}
	if err := o.node(c.Context(), http.MethodPost, "/images/prune", nil, &done); err != nil {
		return err
	}
	fmt.Fprintf(c.OutOrStdout(), "removed %d images, %.1f MB\n", len(done.Images), float64(done.Bytes)/1e6)
	return nil
}

func (o imageCommands) importRootfs(c *cobra.Command, args []string) error {
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
}

func shortID(id string) string {
	_, hex, _ := strings.Cut(id, ":")
	return hex[:min(12, len(hex))]
}
