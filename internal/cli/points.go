package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

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
It asks the repository alone: vApps that are gone are listed as well. A selector
of VMs lists the points that hold them. A VM that was deleted is in the points of
its vApp that were made before; once those are forgotten nothing is left of it.`,
		Example: `  vappvault points
  vappvault points web-shop
  vappvault points acme/vdc1/web-shop/db01
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
			// What can be read is listed beside what cannot.
			if err != nil && len(points) == 0 {
				return err
			}
			return errors.Join(e.print("points", points, func(w io.Writer) { drawPoints(w, points) }), err)
		}),
	}
}

func drawPoints(w io.Writer, points []restorepoint.Summary) {
	row(w, "POINT", "VAPP", "TAKEN", "STATE", "VMS", "DISKS", "SIZE", "STORED", "HOLDS")
	for _, p := range points {
		row(w, p.ID, selection.Format(p.Org.Label(), p.VDC.Label(), p.VApp.Name, ""), stamp(p.Started), string(p.State),
			strconv.Itoa(p.VMs), strconv.Itoa(p.Disks), wording.Size(p.Size), wording.Size(p.Stored), holds(p.Members))
	}
}

// namesShown is how many VMs a row names.
const namesShown = 5

// holds names the VMs of a point, with what it does not have of them.
func holds(members []restorepoint.Member) string {
	var out []string
	for i, m := range members {
		if i == namesShown && len(members) > namesShown+1 {
			out = append(out, fmt.Sprintf("%d more", len(members)-i))
			break
		}
		text := m.Name
		var but []string
		if m.Hold != restorepoint.Held {
			but = append(but, string(m.Hold))
		}
		if m.Unprotected > 0 {
			but = append(but, wording.Count(m.Unprotected, "disk")+" unprotected")
		}
		if m.ExcludedDisks > 0 {
			but = append(but, wording.Count(m.ExcludedDisks, "disk")+" excluded")
		}
		if len(but) > 0 {
			text += " (" + strings.Join(but, ", ") + ")"
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}
