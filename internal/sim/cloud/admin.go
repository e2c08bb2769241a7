package cloud

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// What administrators of vCenter do behind vCD's back.

// VMotion moves a VM to another host, another datastore or both; an empty
// name leaves it where it is. It is refused while vCenter would refuse it: a
// backup holds a lease, or has disabled the method.
func (c *Cloud) VMotion(ctx context.Context, vm, host, datastore string) error {
	found, err := c.FindVM(ctx, vm)
	if err != nil {
		return err
	}
	if found.vcenter == nil {
		return fmt.Errorf("vm %s: in none of the site's vCenters", found.Path)
	}
	if host == "" && datastore == "" {
		return fmt.Errorf("vm %s: migrate: neither a host nor a datastore is given; hosts are %s", found.Path,
			strings.Join(found.vcenter.server.HostNames(), ", "))
	}
	if err := found.vcenter.server.Migrate(found.MoRef, host, datastore); err != nil {
		return fmt.Errorf("vm %s: %w", found.Path, err)
	}
	return nil
}

// Answer answers what a VM asks; see vcenter.Server.Answer.
func (c *Cloud) Answer(ctx context.Context, vm, choice string) error {
	found, err := c.FindVM(ctx, vm)
	if err != nil {
		return err
	}
	if found.vcenter == nil {
		return fmt.Errorf("vm %s: in none of the site's vCenters", found.Path)
	}
	return found.vcenter.server.Answer(found.MoRef, choice)
}

// datastore finds one by its name, where only one has it, or by
// SITE/VCENTER/NAME.
func (c *Cloud) datastore(name string) (*runningVCenter, string, error) {
	var found []*runningVCenter
	var all []string
	last := name[strings.LastIndex(name, "/")+1:]
	for _, s := range c.sites {
		for _, vc := range s.vcenters {
			for _, d := range vc.spec.Datastores {
				all = append(all, s.spec.ID+"/"+vc.spec.Name+"/"+d.Name)
				if d.Name == name || s.spec.ID+"/"+vc.spec.Name+"/"+d.Name == name {
					found = append(found, vc)
				}
			}
		}
	}
	switch len(found) {
	case 0:
		return nil, "", fmt.Errorf("datastore %s: not found; there are %s", name, strings.Join(all, ", "))
	case 1:
		return found[0], last, nil
	}
	return nil, "", fmt.Errorf("datastore %s: several vCenters have one: want SITE/VCENTER/NAME", name)
}

// FillDatastore makes so many bytes of a datastore be taken by something
// else, in place of what it was told before.
func (c *Cloud) FillDatastore(name string, bytes int64) error {
	vc, name, err := c.datastore(name)
	if err != nil {
		return err
	}
	return vc.server.FillDatastore(name, bytes)
}

// SetDatastoreState is vcenter.Server.SetDatastoreState.
func (c *Cloud) SetDatastoreState(name, state string) error {
	vc, name, err := c.datastore(name)
	if err != nil {
		return err
	}
	return vc.server.SetDatastoreState(name, state)
}

func (c *Cloud) vsphereHandlers(handle func(string, func(http.ResponseWriter, *http.Request) error)) {
	handle("POST /vmotion", func(_ http.ResponseWriter, r *http.Request) error {
		return c.VMotion(r.Context(), r.FormValue("vm"), r.FormValue("host"), r.FormValue("datastore"))
	})
	handle("POST /answer", func(_ http.ResponseWriter, r *http.Request) error {
		return c.Answer(r.Context(), r.FormValue("vm"), r.FormValue("choice"))
	})
	handle("POST /datastore", func(_ http.ResponseWriter, r *http.Request) error {
		name, fill, state := r.FormValue("name"), r.FormValue("fill"), r.FormValue("state")
		switch {
		case fill != "":
			n, err := ParseSize(fill)
			if err != nil {
				return fmt.Errorf("fill: %w", err)
			}
			return c.FillDatastore(name, int64(n))
		case state != "":
			return c.SetDatastoreState(name, state)
		}
		return errors.New("datastore: neither a size to fill nor a state is given")
	})
}

// VMotion is Cloud.VMotion.
func (c *Client) VMotion(ctx context.Context, vm, host, datastore string) error {
	_, err := c.text(ctx, http.MethodPost, "/vmotion", url.Values{"vm": {vm}, "host": {host}, "datastore": {datastore}}, nil)
	return err
}

// Answer is Cloud.Answer.
func (c *Client) Answer(ctx context.Context, vm, choice string) error {
	_, err := c.text(ctx, http.MethodPost, "/answer", url.Values{"vm": {vm}, "choice": {choice}}, nil)
	return err
}

// FillDatastore is Cloud.FillDatastore.
func (c *Client) FillDatastore(ctx context.Context, name string, bytes int64) error {
	_, err := c.text(ctx, http.MethodPost, "/datastore", url.Values{"name": {name}, "fill": {strconv.FormatInt(bytes, 10)}}, nil)
	return err
}

// SetDatastoreState is Cloud.SetDatastoreState.
func (c *Client) SetDatastoreState(ctx context.Context, name, state string) error {
	_, err := c.text(ctx, http.MethodPost, "/datastore", url.Values{"name": {name}, "state": {state}}, nil)
	return err
}
