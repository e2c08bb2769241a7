package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/config"
)

func (e *env) initCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "Create the repository",
		Long: `Creates the repository that the configuration names. Where it is there already
this only checks that the password fits.`,
		Example: `  vappvault init
  vappvault init --config /etc/vappvault/vappvault.yaml`,
		Args: arguments(0, 0, ""),
		RunE: e.run(func(cmd *cobra.Command, _ []string) error {
			var info app.RepositoryInfo
			err := e.withApp(cmd.Context(), func(ctx context.Context, a *app.App, _ *config.Config) (err error) {
				info, err = a.Init(ctx)
				return err
			})
			if err != nil {
				return err
			}
			return e.print("repository", viewRepository(info), func(w io.Writer) {
				fmt.Fprintf(w, "repository %s in %s\n", clean(info.ID), clean(info.URL))
			})
		}),
	}
}
