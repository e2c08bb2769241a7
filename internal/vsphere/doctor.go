package vsphere

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// Lacking returns which of some privileges the user does not have at the root
// folder (AuthorizationManager.HasPrivilegeOnEntities).
func (c *Client) Lacking(ctx context.Context, privileges []string) ([]string, error) {
	content := c.vim.ServiceContent
	if content.AuthorizationManager == nil || content.SessionManager == nil {
		return nil, fmt.Errorf("privileges: %w", ErrNotSupported)
	}
	var manager mo.SessionManager
	if err := c.get(ctx, *content.SessionManager, &manager, "currentSession"); err != nil {
		return nil, fmt.Errorf("privileges: session: %w", err)
	}
	if manager.CurrentSession == nil {
		return nil, errors.New("privileges: vCenter knows no session")
	}
	res, err := methods.HasPrivilegeOnEntities(ctx, c.vim, &types.HasPrivilegeOnEntities{
		This: *content.AuthorizationManager, Entity: []types.ManagedObjectReference{content.RootFolder},
		SessionId: manager.CurrentSession.Key, PrivId: privileges,
	})
	if err != nil {
		return nil, fmt.Errorf("privileges: %w", explain(err))
	}
	var lacking []string
	for _, entity := range res.Returnval {
		for _, p := range entity.PrivAvailability {
			if !p.IsGranted {
				lacking = append(lacking, p.PrivId)
			}
		}
	}
	return lacking, nil
}

// Now is the time by vCenter's clock.
func (c *Client) Now(ctx context.Context) (time.Time, error) {
	t, err := methods.GetCurrentTime(ctx, c.vim)
	if err != nil {
		return time.Time{}, fmt.Errorf("current time: %w", explain(err))
	}
	return *t, nil
}

// A Host is an ESXi host as vCenter knows it.
type Host struct {
	Name    string // by which vCenter and VDDK reach it
	Address string // of its first VMkernel adapter, if vCenter tells
}

// Hosts lists the hosts that are connected.
func (c *Client) Hosts(ctx context.Context) ([]Host, error) {
	var all []mo.HostSystem
	if err := c.list(ctx, "HostSystem", []string{"name", "runtime.connectionState", "config.network.vnic"}, &all); err != nil {
		return nil, fmt.Errorf("hosts: %w", err)
	}
	var out []Host
	for _, h := range all {
		if h.Runtime.ConnectionState != types.HostSystemConnectionStateConnected {
			continue
		}
		host := Host{Name: h.Name}
		if n := h.Config; n != nil && n.Network != nil && len(n.Network.Vnic) > 0 && n.Network.Vnic[0].Spec.Ip != nil {
			host.Address = n.Network.Vnic[0].Spec.Ip.IpAddress
		}
		out = append(out, host)
	}
	slices.SortFunc(out, func(a, b Host) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Version is what vCenter says of itself, "VMware vCenter Server 8.0.2
// build-…".
func (c *Client) Version() string { return c.vim.ServiceContent.About.FullName }
