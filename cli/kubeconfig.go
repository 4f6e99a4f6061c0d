package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// certificateLife is how long a person's certificate is good: it cannot be revoked, so it should not be for ever.
const certificateLife = 90 * 24 * time.Hour

func kubeconfigCommand() *cobra.Command {
	o := &onMachine{}
	c := &cobra.Command{Use: "kubeconfig", Short: "Make kubeconfigs for people (on a server's machine)"}
	o.flag(c)
	var user string
	var groups []string
	var life time.Duration
	create := &cobra.Command{Use: "create", Short: "Make a client certificate and print a kubeconfig with it", Args: cobra.NoArgs,
		Long: `Make a client certificate for a user and print a kubeconfig with it.

What the user may do is settled by the roles that are bound to the name or the groups: see "peapod create rolebinding".
A certificate cannot be taken back before it expires; delete the bindings instead. Members of system:masters may do everything.`,
		Example: `  peapod kubeconfig create --user jane --group developers > jane.kubeconfig
  peapod create clusterrolebinding developers --clusterrole=edit --group=developers`,
		RunE: func(c *cobra.Command, _ []string) error {
			q := url.Values{"user": {user}, "groups": {strings.Join(groups, ",")}, "life": {life.String()}}
			var text string
			if err := o.server(c.Context(), http.MethodGet, "/kubeconfig?"+q.Encode(), &text); err != nil {
				return err
			}
			_, err := fmt.Fprint(c.OutOrStdout(), text)
			return err
		}}
	create.Flags().StringVar(&user, "user", "", "name of the user")
	create.Flags().StringArrayVar(&groups, "group", nil, "a group of the user; may be repeated")
	create.Flags().DurationVar(&life, "ttl", certificateLife, "how long the certificate is good")
	_ = create.MarkFlagRequired("user") // it exists
	c.AddCommand(create)
	return c
}
