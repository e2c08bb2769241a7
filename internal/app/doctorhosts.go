package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/vappvault/vappvault/internal/transport/vddk"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// knocks is how many hosts are tried at once.
const knocks = 16

// hosts looks whether VDDK's ways over the network can reach the hosts of a
// vCenter, by the names that vCenter gives it.
func (d *doctor) hosts(ctx context.Context, vcenter string, c *vsphere.Client) {
	overNetwork := func(mode string) bool { return strings.HasPrefix(mode, "nbd") }
	if !slices.Contains(d.Config.Transports, "vddk") || !slices.ContainsFunc(strings.Split(d.Config.VDDK.Transports, ":"), overNetwork) {
		return
	}
	name, port := "vddk hosts of "+vcenter, d.Config.VDDK.NFCHostPort
	hosts, err := c.Hosts(ctx)
	if err != nil {
		d.add(name, CheckWarn, "", "%v", err)
		return
	}
	failed := make([]error, len(hosts))
	var group sync.WaitGroup
	slots := make(chan struct{}, knocks)
	for i, h := range hosts {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			failed[i] = reach(ctx, h, port)
		})
	}
	group.Wait()
	reached := 0
	for i, h := range hosts {
		if failed[i] == nil {
			reached++
			continue
		}
		d.add("vddk host "+h.Name, CheckWarn, adviceFor(failed[i], port), "%v", failed[i])
	}
	if reached > 0 || len(hosts) == 0 {
		d.add(name, CheckOK, "", "%d of %d answer at port %d", reached, len(hosts), port)
		return
	}
	d.add(name, CheckWarn, "doc/vddk.md: what nbd and nbdssl need", "none of %d answers at port %d as a host does", len(hosts), port)
}

// reach knocks at a host's port. Where only its name is unknown here, the error
// tells whether the host itself could be reached.
func reach(ctx context.Context, h vsphere.Host, port int) error {
	err := vddk.Knock(ctx, h.Name, port)
	var unknown *net.DNSError
	if err == nil || !errors.As(err, &unknown) || h.Address == "" {
		return err
	}
	if again := vddk.Knock(ctx, h.Address, port); again != nil {
		return fmt.Errorf("%w; nor does its address: %w", err, again)
	}
	return fmt.Errorf("%w; its address %s answers at port %d", err, h.Address, port)
}

// adviceFor says what to do about a host that cannot be reached.
func adviceFor(err error, port int) string {
	var unknown *net.DNSError
	switch {
	case errors.As(err, &unknown):
		return "let this machine resolve the names by which vCenter knows its hosts (DNS, /etc/hosts)"
	case errors.Is(err, vddk.ErrBanner):
		return "look what listens there, or what is between: nbd and nbdssl need the host's own daemon"
	}
	return fmt.Sprintf("open TCP %d from here to the host in firewalls", port)
}
