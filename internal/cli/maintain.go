package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/config"
)

func (e *env) maintainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "maintain",
		Short: "Give back space that no restore point needs",
		Long: `Collects garbage in the repository: what only forgotten restore points, or runs
that died, had stored. Backups may run meanwhile.`,
		Example: `  vappvault maintain`,
		Args:    arguments(0, 0, ""),
		RunE: e.run(func(cmd *cobra.Command, _ []string) error {
			err := e.withApp(cmd.Context(), func(ctx context.Context, a *app.App, _ *config.Config) error {
				return a.Maintain(ctx)
			})
			if err != nil {
				return err
			}
			return e.print("maintained", true, func(w io.Writer) { fmt.Fprintln(w, "repository maintained") })
		}),
	}
}
