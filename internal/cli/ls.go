package cli

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/selection"
)

func (e *env) lsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ls [SELECTOR…]",
		Short: "List vApps and VMs, and which of them are protected",
		Long: `Lists vApps and VMs. A vApp or VM is protected where a restore point holds it;
of a VM it is also said whether the newest point of its vApp has it, or whether
it failed or was excluded then. A site that does not answer is left out and
named: the exit code is then 3.`,
		Example: `  vappvault ls
  vappvault ls 'acme/*/web-*'
  vappvault ls -o json | jq '.inventory[] | select(.protected | not)'`,
		ValidArgsFunction: e.completeSelectors,
		RunE: e.run(func(cmd *cobra.Command, args []string) error {
			if err := checkSelectors(args); err != nil {
				return err
			}
			var items []app.InventoryItem
			err := e.withApp(cmd.Context(), func(ctx context.Context, a *app.App, _ *config.Config) (err error) {
				items, err = a.List(ctx, args)
				return err
			})
			if err == nil || errors.Is(err, app.ErrPartial) {
				err = errors.Join(err, e.print("inventory", viewInventory(items), func(w io.Writer) { drawInventory(w, items) }))
			}
			return err
		}),
	}
}

// inventoryView is one vApp or VM in JSON.
type inventoryView struct {
	Selector      string              `json:"selector"`
	Site          string              `json:"site"`
	Org           string              `json:"org"`
	VDC           string              `json:"vdc"`
	VApp          string              `json:"vapp"`
	VAppID        string              `json:"vappId"`
	VM            string              `json:"vm,omitempty"`
	VMID          string              `json:"vmId,omitempty"`
	Status        string              `json:"status"`
	Nature        restorepoint.Nature `json:"nature"`
	InMaintenance bool                `json:"inMaintenance"`
	Protected     bool                `json:"protected"`
	LastPoint     string              `json:"lastPoint,omitempty"`
	LastTime      time.Time           `json:"lastTime,omitzero"`
	LastState     string              `json:"lastState,omitempty"` // of the vApp's newest point: complete, partial
	LastHold      string              `json:"lastHold,omitempty"`  // what that has of a VM: held, missing, excluded
}

func viewInventory(items []app.InventoryItem) []inventoryView {
	views := make([]inventoryView, 0, len(items))
	for _, it := range items {
		views = append(views, inventoryView{
			Selector: selection.Format(it.Org, it.VDC, it.VApp, it.VM),
			Site:     it.Site, Org: it.Org, VDC: it.VDC, VApp: it.VApp, VAppID: it.VAppID, VM: it.VM, VMID: it.VMID, Status: it.Status, Nature: it.Nature,
			InMaintenance: it.InMaintenance, Protected: it.Protected, LastPoint: it.LastPoint, LastTime: it.LastTime, LastState: string(it.State), LastHold: string(it.Hold),
		})
	}
	return views
}

// natureText says what a vApp is that is none to its users.
func natureText(n restorepoint.Nature) string {
	switch n {
	case restorepoint.NatureStandalone:
		return "standalone VM"
	case restorepoint.NatureDiscovered:
		return "discovered"
	}
	return string(n)
}

func drawInventory(w io.Writer, items []app.InventoryItem) {
	row(w, "SELECTOR", "STATUS", "PROTECTED", "LAST POINT", "TAKEN")
	for _, it := range items {
		status := it.Status
		if it.InMaintenance {
			status += ", in maintenance"
		}
		if it.VM == "" && it.Nature != restorepoint.NatureVApp {
			status += ", " + natureText(it.Nature)
		}
		row(w, selection.Format(it.Org, it.VDC, it.VApp, it.VM), status, protection(it), it.LastPoint, stamp(it.LastTime))
	}
}

// protection says whether a point holds a vApp or VM, and whether the newest
// one of its vApp does.
func protection(it app.InventoryItem) string {
	text, since := yes(it.Protected), ""
	if it.Protected {
		since = " since"
	}
	switch {
	case it.VM == "" && it.Hold == restorepoint.Excluded:
		return "no disks, excluded"
	case it.VM == "" && it.State == restorepoint.Partial:
		return "in part"
	case it.VM != "" && it.Hold == restorepoint.Excluded:
		return text + ", excluded" + since
	case it.VM != "" && it.Hold == restorepoint.Missing:
		return text + ", failed" + since
	}
	return text
}
