package cloud

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

// ErrNoVM and ErrManyVMs are why a name leads to no VM.
var (
	ErrNoVM    = errors.New("no such VM")
	ErrManyVMs = errors.New("more than one such VM")
)

// A RunningVM is a VM as its vCD knows it at this moment.
type RunningVM struct {
	Site    string `json:"site"`
	Path    string `json:"path"` // ORG/VDC/VAPP/VM, see Path
	Name    string `json:"name"`
	Href    string `json:"href"`
	VCenter string `json:"vcenter"` // SITE/NAME
	MoRef   string `json:"moref"`

	site    *site
	vcenter *runningVCenter
}

// VMs lists all VMs of all orgs, those that came after the start too.
func (c *Cloud) VMs(ctx context.Context) ([]RunningVM, error) {
	var all []RunningVM
	for _, s := range c.sites {
		vms, err := c.siteVMs(ctx, s)
		if err != nil {
			return nil, fmt.Errorf("site %s: %w", s.spec.ID, err)
		}
		all = append(all, vms...)
	}
	slices.SortFunc(all, func(a, b RunningVM) int { return strings.Compare(a.Path, b.Path) })
	return all, nil
}

func (c *Cloud) siteVMs(ctx context.Context, s *site) ([]RunningVM, error) {
	api, err := c.login(ctx, s)
	if err != nil {
		return nil, err
	}
	defer api.logout(context.WithoutCancel(ctx))
	vapps, err := api.vapps(ctx)
	if err != nil {
		return nil, err
	}
	records, err := api.query(ctx, "adminVM")
	if err != nil {
		return nil, err
	}
	var all []RunningVM
	for _, r := range records {
		vapp, ok := vapps[path.Base(r["container"])]
		if !ok {
			continue // of a template
		}
		vm := RunningVM{Site: s.spec.ID, Name: r["name"], Href: r["href"], MoRef: r["moref"], site: s}
		vm.Path = vapp.path + "/" + Path(vm.Name)
		for _, vc := range s.vcenters {
			if path.Base(r["vc"]) == uuid("vim server", s.spec.ID, vc.spec.Name) {
				vm.VCenter, vm.vcenter = s.spec.ID+"/"+vc.spec.Name, vc
			}
		}
		all = append(all, vm)
	}
	return all, nil
}

// A vappRecord is a vApp as a query shows it, and its path ORG/VDC/VAPP.
type vappRecord struct {
	record
	path string
}

// vapps lists all vApps by the last part of their hrefs.
func (a *apiClient) vapps(ctx context.Context) (map[string]vappRecord, error) {
	names := map[string]string{} // of orgs and VDCs, by the last part of the href
	for _, kind := range []string{"organization", "adminOrgVdc"} {
		records, err := a.query(ctx, kind)
		if err != nil {
			return nil, err
		}
		for _, r := range records {
			names[path.Base(r["href"])] = r["name"]
		}
	}
	records, err := a.query(ctx, "adminVApp")
	if err != nil {
		return nil, err
	}
	all := map[string]vappRecord{}
	for _, r := range records {
		all[path.Base(r["href"])] = vappRecord{r, Path(names[path.Base(r["org"])], names[path.Base(r["vdc"])], r["name"])}
	}
	return all, nil
}

// DeleteVApp undeploys and deletes the vApp of a path, ORG/VDC/VAPP, as an
// administrator of vCD would; its disks go with it.
func (c *Cloud) DeleteVApp(ctx context.Context, vapp string) error {
	for _, s := range c.sites {
		done, err := s.deleteVApp(ctx, c, vapp)
		if err != nil {
			return fmt.Errorf("vApp %s: %w", vapp, err)
		}
		if done {
			return nil
		}
	}
	return fmt.Errorf("vApp %s: not there", vapp)
}

func (s *site) deleteVApp(ctx context.Context, c *Cloud, vapp string) (bool, error) {
	api, err := c.login(ctx, s)
	if err != nil {
		return false, err
	}
	defer api.logout(context.WithoutCancel(ctx))
	vapps, err := api.vapps(ctx)
	if err != nil {
		return false, err
	}
	for _, v := range vapps {
		if v.path != vapp {
			continue
		}
		if v.record["isDeployed"] == "true" {
			if err := api.run(ctx, v.record["href"]+"/action/undeploy", undeployType, undeployBody); err != nil {
				return false, fmt.Errorf("undeploy: %w", err)
			}
		}
		return true, api.task(ctx, http.MethodDelete, v.record["href"], "", "")
	}
	return false, nil
}

const (
	undeployType = "application/vnd.vmware.vcloud.undeployVAppParams+xml"
	undeployBody = `<UndeployVAppParams xmlns="http://www.vmware.com/vcloud/v1.5"><UndeployPowerAction>powerOff</UndeployPowerAction></UndeployVAppParams>`
)

// FindVM finds a VM by its name, where only one has it, or by its path, which
// may begin with the site. The error is ErrNoVM or ErrManyVMs and names what
// there is.
func (c *Cloud) FindVM(ctx context.Context, name string) (RunningVM, error) {
	all, err := c.VMs(ctx)
	if err != nil {
		return RunningVM{}, fmt.Errorf("find vm %s: %w", name, err)
	}
	var found []RunningVM
	for _, vm := range all {
		if name == vm.Path || name == vm.Site+"/"+vm.Path || name == vm.Name || name == Path(vm.Name) {
			found = append(found, vm)
		}
	}
	switch len(found) {
	case 0:
		return RunningVM{}, fmt.Errorf("vm %s: %w; there are %s", name, ErrNoVM, paths(all))
	case 1:
		return found[0], nil
	}
	return RunningVM{}, fmt.Errorf("vm %s: %w: %s", name, ErrManyVMs, paths(found))
}

// paths lists VMs, with their sites where these are several: the first of them.
func paths(vms []RunningVM) string {
	const most = 20
	if len(vms) == 0 {
		return "none"
	}
	several := slices.ContainsFunc(vms, func(vm RunningVM) bool { return vm.Site != vms[0].Site })
	list := make([]string, min(len(vms), most))
	for i, vm := range vms[:len(list)] {
		list[i] = fmt.Sprintf("%q", vm.Path)
		if several {
			list[i] = fmt.Sprintf("%q", vm.Site+"/"+vm.Path)
		}
	}
	if more := len(vms) - len(list); more > 0 {
		list = append(list, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(list, ", ")
}

// Guest is a disk of a VM as its guest sees it. Disks count from 0, in the
// order of their device keys.
func (c *Cloud) Guest(ctx context.Context, vm string, disk int) (*vcenter.GuestDisk, error) {
	found, err := c.FindVM(ctx, vm)
	if err != nil {
		return nil, err
	}
	if found.vcenter == nil {
		return nil, fmt.Errorf("vm %s: in none of the site's vCenters", found.Path)
	}
	guest, err := found.vcenter.server.Disk(found.MoRef, disk)
	if err != nil {
		return nil, fmt.Errorf("vm %s: %w", found.Path, err)
	}
	return guest, nil
}

// Power switches a VM on, off or suspends it (on, off, suspended), as a user
// of vCD would, and waits until it is done.
func (c *Cloud) Power(ctx context.Context, vm, state string) error {
	found, err := c.FindVM(ctx, vm)
	if err != nil {
		return err
	}
	if err := c.power(ctx, found, state); err != nil {
		return fmt.Errorf("vm %s: power %s: %w", found.Path, state, err)
	}
	return nil
}

func (c *Cloud) power(ctx context.Context, vm RunningVM, state string) error {
	api, err := c.login(ctx, vm.site)
	if err != nil {
		return err
	}
	defer api.logout(context.WithoutCancel(ctx))
	switch state {
	case "on":
		return api.run(ctx, vm.Href+"/power/action/powerOn", "", "")
	case "suspended":
		return api.run(ctx, vm.Href+"/power/action/suspend", "", "")
	case "off":
		// Powering off alone would leave it deployed.
		return api.run(ctx, vm.Href+"/action/undeploy", undeployType, undeployBody)
	}
	return fmt.Errorf("%q: want on, off or suspended", state)
}
