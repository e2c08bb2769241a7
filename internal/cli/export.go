package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/selection"
	"github.com/vappvault/vappvault/internal/wording"
)

func (e *env) exportCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "export POINT VM:DISK FILE",
		Short: "Write one disk of a restore point to a raw file",
		Long: `Writes one disk of a restore point to FILE, as a raw image that qemu-img, losetup
and others read. FILE is made, and must not be there yet; what is zeros on the
disk is a hole of it. DISK is the disk's label or its device key, as show lists
them, or bus and unit (1:3, scsi1:3), which stand in the VM's configuration. Needs
the repository only, neither vCD nor vCenter.`,
		Example: `  vappvault export web-shop@latest 'db01:Hard disk 2' db01-data.raw
  vappvault export 01J9ZQ3V6S8M2T4W5X7Y8Z9A0B db01:scsi0:1 /mnt/db01.raw`,
		Args:              arguments(3, 3, "name a restore point, a disk and a file to be made"),
		ValidArgsFunction: e.completePoints,
		RunE: e.run(func(cmd *cobra.Command, args []string) error {
			if err := checkPoints(args[:1]); err != nil {
				return err
			}
			disk, err := selection.ParseDisk(args[1])
			if err != nil {
				return usagef("%v", err)
			}
			var out app.Exported
			err = e.withApp(cmd.Context(), func(ctx context.Context, a *app.App, _ *config.Config) (err error) {
				out, err = a.Export(ctx, args[0], disk, args[2])
				return err
			})
			if err != nil {
				return err
			}
			v := exportView(out)
			return e.print("export", v, func(w io.Writer) {
				fmt.Fprintf(w, "%s: %s of %s, %s: %s, of which %s hold data\n",
					v.File, v.Disk, v.VM, "restore point "+v.Point, wording.Size(v.Size), wording.Size(v.Data))
			})
		}),
	}
}

// exportView is a disk that was written to a file, in JSON.
type exportView struct {
	Point string `json:"point"`
	VM    string `json:"vm"`
	Disk  string `json:"disk"` // label
	File  string `json:"file"`
	Size  int64  `json:"size"` // bytes
	Data  int64  `json:"data"` // bytes of blocks that are not all zeros
}
