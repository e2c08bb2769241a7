package cli

import (
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/wording"
)

// changedFlags lists the flags of a command itself that were given.
func changedFlags(cmd *cobra.Command) []string {
	var out []string
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			out = append(out, f.Name)
		}
	})
	return out
}

// showPlan prints a plan that is about to be applied, on standard error.
func (e *env) showPlan(p *plan.Plan) {
	tw := newTable(e.stderr)
	drawPlan(tw, p)
	_ = tw.Flush() // what cannot be shown is done all the same
}

// drawPlan shows what a restore would do: in steps, VM by VM, NIC by NIC, and
// what is done about each conflict.
func drawPlan(w io.Writer, p *plan.Plan) {
	what := "from restore point " + p.Point.ID
	if p.Undo != "" {
		what = "as it was before run " + p.Undo
	}
	fmt.Fprintf(w, "plan: %s vApp %s in %s/%s %s\n", p.Mode, clean(p.VAppName), clean(p.Org.Name), clean(p.VDC.Name), what)
	for i, step := range p.Steps {
		fmt.Fprintf(w, "  %d. %s\n", i+1, clean(step))
	}
	drawPlannedVMs(w, p)
	drawPlannedNICs(w, p)
	drawConflicts(w, p.Conflicts)
}

func drawPlannedVMs(w io.Writer, p *plan.Plan) {
	if len(p.VMs) == 0 {
		return
	}
	row(w, "VM", "WAS", "ACTION", "DATASTORE", "PROFILE", "DISKS", "SIZE")
	for _, vm := range p.VMs {
		disks := ""
		if vm.VM != nil {
			disks = strconv.Itoa(len(vm.VM.Disks))
		}
		row(w, vm.Name, vm.Was, vm.Action, vm.Datastore.Name, vm.StorageProfile.Name, disks, wording.Size(vm.Bytes))
	}
	flush(w)
}

func drawPlannedNICs(w io.Writer, p *plan.Plan) {
	head := false
	for _, vm := range p.VMs {
		for _, n := range vm.NICs {
			if !head {
				row(w, "VM", "NIC", "NETWORK", "HANGS FROM", "ADDRESS", "MAC")
				head = true
			}
			mac := n.MAC
			if mac == "" {
				mac = "new"
			}
			row(w, vm.Name, strconv.Itoa(n.Index), n.Network, p.ParentOf(n.Network), n.Fate(), mac)
		}
	}
	flush(w)
}

func drawConflicts(w io.Writer, conflicts []plan.Conflict) {
	for _, c := range conflicts {
		text := c.Object + ": " + c.Message + ": "
		switch {
		case c.Resolution == "" && c.Override != "":
			text += "needs a decision: " + c.Override
		case c.Resolution == "":
			text += "needs a decision"
		case c.Override != "":
			text += c.Resolution + " (otherwise: " + c.Override + ")"
		default:
			text += c.Resolution
		}
		fmt.Fprintf(w, "  conflict: %s\n", clean(text))
	}
}
