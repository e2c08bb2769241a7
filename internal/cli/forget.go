package cli

import (
	"context"
	"fmt"
	"io"
	"math"

	"github.com/spf13/cobra"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/config"
)

func (e *env) forgetCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "forget POINT…",
		Short: "Drop restore points",
		Long: `Drops restore points from the repository. Other points do not depend on them.
The space is given back by vappvault maintain, a day or two later, or at once by
vappvault maintain --immediate.

A point is kept, with exit code 5, that an overwrite needs which was interrupted,
and so is the safety point of one that restore --undo --list still offers to take
back; the others go. What needs them is told by the journal of this machine.`,
		Example: `  vappvault forget 01KAZ8M5H2W4Q6T8V0X2Z4B6D8
  vappvault forget web-shop@2026-11-01T00:00 && vappvault maintain`,
		Args:              arguments(1, math.MaxInt, "name a restore point"),
		ValidArgsFunction: e.completePoints,
		RunE: e.run(func(cmd *cobra.Command, args []string) error {
			if err := checkPoints(args); err != nil {
				return err
			}
			ids := []string{}
			err := e.withApp(cmd.Context(), func(ctx context.Context, a *app.App, _ *config.Config) error {
				dropped, err := a.Forget(ctx, args, force)
				ids = append(ids, dropped...)
				return err
			})
			if len(ids) > 0 || err == nil {
				perr := e.print("forgotten", ids, func(w io.Writer) {
					for _, id := range ids {
						fmt.Fprintf(w, "forgot restore point %s\n", clean(id))
					}
				})
				if err == nil {
					err = perr
				}
			}
			return err
		}),
	}
	cmd.Flags().BoolVar(&force, "force", false, "drop also what an overwrite needs, which can then neither go on nor be undone")
	return cmd
}
