package cli

import (
	"context"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/selection"
	"github.com/vappvault/vappvault/internal/wording"
)

func (e *env) pointsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "points [SELECTOR…]",
		Short: "List restore points",
		Long: `Lists the restore points in the repository, of all vApps or of those selected.
It asks the repository alone: vApps that are gone are listed as well.`,
		Example: `  vappvault points
  vappvault points web-shop
  vappvault points 'acme/*/*' -o json`,
		ValidArgsFunction: e.completeSelectors,
		RunE: e.run(func(cmd *cobra.Command, args []string) error {
			if err := checkSelectors(args); err != nil {
				return err
			}
			points := []restorepoint.Summary{}
			err := e.withApp(cmd.Context(), func(ctx context.Context, a *app.App, _ *config.Config) error {
				found, err := a.Points(ctx, args)
				points = append(points, found...)
				return err
			})
			if err != nil {
				return err
			}
			return e.print("points", points, func(w io.Writer) { drawPoints(w, points) })
		}),
	}
}

func drawPoints(w io.Writer, points []restorepoint.Summary) {
	row(w, "POINT", "VAPP", "TAKEN", "STATE", "VMS", "DISKS", "SIZE", "STORED")
	for _, p := range points {
		row(w, p.ID, selection.Format(p.Org.Label(), p.VDC.Label(), p.VApp.Name, ""), stamp(p.Started), string(p.State),
			strconv.Itoa(p.VMs), strconv.Itoa(p.Disks), wording.Size(p.Size), wording.Size(p.Stored))
	}
}
