package restore

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// putNVRAM gives a rebuilt VM the variables of its firmware: boot entries,
// the keys of secure boot. Those of a VM with a virtual TPM are encrypted
// with keys that a VM without it does not have; they are left out, as the
// TPM is. A host makes blank ones where there are none.
func (r *run) putNVRAM(ctx context.Context, made *scratch, vp *plan.VM) error {
	content := r.docs["vsphere/"+restorepoint.UUID(vp.VM.ID)+"/vm.nvram"]
	if len(content) == 0 || r.hasTPM(vp.VM) {
		return nil
	}
	config, err := made.vm.Config(ctx)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if err := made.vm.PutFile(ctx, nvramOf(config), content); err != nil {
		return fmt.Errorf("firmware variables: %w", err)
	}
	r.did("nvram " + vp.Name)
	return nil
}

// hasTPM tells whether a VM of the restore point has a virtual TPM.
func (r *run) hasTPM(vm *restorepoint.VM) bool {
	return bytes.Contains(r.docs["vsphere/"+restorepoint.UUID(vm.ID)+"/config.xml"], []byte("VirtualTPM"))
}

// nvramOf is where a VM has its firmware's variables, or will have them:
// beside its .vmx.
func nvramOf(c *vsphere.VMConfig) string {
	if file, ok := c.NVRAM(); ok {
		return file
	}
	return strings.TrimSuffix(c.VmPathName, path.Ext(c.VmPathName)) + ".nvram"
}
