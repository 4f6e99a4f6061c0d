package jobs

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
)

//go:embed example.hcl
var example []byte

func initCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "init [FILE]",
		Short:   "Write an example job file with comments",
		Example: `  peapod job init && peapod job run example.hcl`,
	}
	return command(c, cobra.MaximumNArgs(1), func(c *cobra.Command, args []string) error {
		name := "example.hcl"
		if len(args) == 1 {
			name = args[0]
		}
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) // #nosec G302 G304 -- an example, where the user wants it
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s exists already; name another file", name)
		}
		if err != nil {
			return fmt.Errorf("writing the example: %w", err)
		}
		_, err = f.Write(example)
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("writing the example: %w", err)
		}
		fmt.Fprintf(c.OutOrStdout(), "%s written; try: peapod job run %s\n", name, name)
		return nil
	})
}
