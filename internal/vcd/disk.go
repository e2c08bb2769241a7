package vcd

import (
	"context"
	"encoding/xml"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// Media types of named (independent) disks.
const (
	TypeDisk       = "application/vnd.vmware.vcloud.disk+xml"
	typeDiskCreate = "application/vnd.vmware.vcloud.diskCreateParams+xml"
	typeDiskAttach = "application/vnd.vmware.vcloud.diskAttachOrDetachParams+xml"
)

// A NamedDisk describes a named disk to be made (DiskType).
type NamedDisk struct {
	Name, Description   string
	SizeMB              int64
	BusType, BusSubType string // CIM resource type and subtype: "6", "VirtualSCSI"
	Sharing             string // None, DiskSharing, ControllerSharing; "" is None
	StorageProfileHref  string // "" for the VDC's default
}

type diskElement struct {
	NS          string   `xml:"xmlns,attr,omitempty"`
	SizeMB      int64    `xml:"sizeMb,attr"`
	BusType     string   `xml:"busType,attr,omitempty"`
	BusSubType  string   `xml:"busSubType,attr,omitempty"`
	Sharing     string   `xml:"sharingType,attr,omitempty"`
	Name        string   `xml:"name,attr"`
	Description string   `xml:"Description"`
	Profile     *hrefRef `xml:"StorageProfile,omitempty"`
}

func (d NamedDisk) element() diskElement {
	return diskElement{
		SizeMB: d.SizeMB, BusType: d.BusType, BusSubType: d.BusSubType, Sharing: d.Sharing, Name: d.Name, Description: d.Description,
		Profile: optionalRef(d.StorageProfileHref),
	}
}

// CreateDisk makes an empty named disk in a VDC and waits for it. The href is
// returned with an error too, once there is something to clean up.
func (c *Client) CreateDisk(ctx context.Context, vdcHref string, d NamedDisk) (href string, err error) {
	body, err := encode(struct {
		XMLName xml.Name    `xml:"DiskCreateParams"`
		NS      string      `xml:"xmlns,attr"`
		Disk    diskElement `xml:"Disk"`
	}{NS: nsVCloud, Disk: d.element()})
	if err == nil {
		href, err = c.create(ctx, Request{Href: action(vdcHref, "disk"), ContentType: typeDiskCreate, Body: body})
	}
	if err != nil {
		return href, fmt.Errorf("create disk %s: %w", d.Name, err)
	}
	return href, nil
}

// UpdateDisk changes a named disk that is attached to no VM, and waits.
func (c *Client) UpdateDisk(ctx context.Context, href string, d NamedDisk) error {
	e := d.element()
	e.NS = nsVCloud
	body, err := encode(struct {
		XMLName xml.Name `xml:"Disk"`
		diskElement
	}{diskElement: e})
	if err != nil {
		return err
	}
	return c.PutSection(ctx, href, TypeDisk, body)
}

// AttachDisk attaches a named disk to a VM and waits: at a bus and unit, or
// where vCD likes with both negative.
func (c *Client) AttachDisk(ctx context.Context, vmHref, diskHref string, bus, unit int) error {
	return c.diskAction(ctx, vmHref, "attach", diskHref, bus, unit)
}

// DetachDisk takes a named disk from a VM and waits.
func (c *Client) DetachDisk(ctx context.Context, vmHref, diskHref string) error {
	return c.diskAction(ctx, vmHref, "detach", diskHref, -1, -1)
}

func (c *Client) diskAction(ctx context.Context, vmHref, what, diskHref string, bus, unit int) error {
	number := func(n int) *string {
		if n < 0 {
			return nil
		}
		s := strconv.Itoa(n)
		return &s
	}
	body, err := encode(struct {
		XMLName xml.Name `xml:"DiskAttachOrDetachParams"`
		NS      string   `xml:"xmlns,attr"`
		Disk    hrefRef  `xml:"Disk"`
		Bus     *string  `xml:"BusNumber,omitempty"`
		Unit    *string  `xml:"UnitNumber,omitempty"`
	}{NS: nsVCloud, Disk: hrefRef{Href: diskHref, Type: TypeDisk}, Bus: number(bus), Unit: number(unit)})
	if err != nil {
		return err
	}
	_, err = c.DoTask(ctx, Request{Method: http.MethodPost, Href: action(vmHref, "disk/action/"+what), ContentType: typeDiskAttach, Body: body})
	return err
}

// DeleteDisk deletes a named disk that is attached to no VM, and waits. One
// that is gone is no error.
func (c *Client) DeleteDisk(ctx context.Context, href string) error { return c.delete(ctx, href) }

// AttachedVMs are the URNs of the VMs that a named disk is attached to.
func (c *Client) AttachedVMs(ctx context.Context, diskHref string) ([]string, error) {
	doc, err := c.Get(ctx, action(diskHref, "attachedVms"))
	if err != nil {
		return nil, err
	}
	var e struct {
		VMs []reference `xml:"VmReference"`
	}
	if err := parse(doc.Raw, "Vms", &e); err != nil {
		return nil, fmt.Errorf("attached VMs: %w", err)
	}
	var out []string
	for _, vm := range e.VMs {
		out = append(out, URN(vm.Href))
	}
	return out, nil
}

// DisksNamed are the hrefs of the named disks of a name.
func (c *Client) DisksNamed(ctx context.Context, name string) ([]string, error) {
	return collect(ctx, c, c.byRole("adminDisk", "disk"), Filter("name==", name), func(r Record) (string, bool) {
		return r.Attrs["href"], r.Attrs["name"] == name && strings.Contains(r.Attrs["href"], "/disk/")
	})
}
