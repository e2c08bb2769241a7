package vcd

import (
	"context"
	"encoding/xml"
	"fmt"
	"net/http"
)

// EnterMaintenance puts a vApp (URN or href) in maintenance mode; one that is
// in it already stays so. Tasks that run go on running.
func (c *Client) EnterMaintenance(ctx context.Context, vappID string) error {
	return c.setMaintenance(ctx, vappID, "action/enterMaintenanceMode", true)
}

// ExitMaintenance takes a vApp out of maintenance mode; one that is out, or
// gone, is left as it is.
func (c *Client) ExitMaintenance(ctx context.Context, vappID string) error {
	err := c.setMaintenance(ctx, vappID, "action/exitMaintenanceMode", false)
	if gone(err) {
		return nil
	}
	return err
}

func (c *Client) setMaintenance(ctx context.Context, vappID, name string, want bool) error {
	href, err := c.locate(vappID)
	if err != nil {
		return err
	}
	_, err = c.DoTask(ctx, Request{Method: http.MethodPost, Href: action(href, name)})
	if err == nil || gone(err) {
		return err
	}
	// Servers differ in what they say to a mode that is reached already.
	doc, getErr := c.Get(ctx, href)
	if getErr != nil {
		return err
	}
	if v, parseErr := ParseVApp(doc.Raw); parseErr == nil && v.InMaintenance == want {
		return nil
	}
	return err
}

// PutSection replaces a section, or any other document at href, and waits.
func (c *Client) PutSection(ctx context.Context, href, contentType string, body []byte) error {
	_, err := c.DoTask(ctx, Request{Method: http.MethodPut, Href: href, ContentType: contentType, Body: body})
	return err
}

// SetControlAccess replaces who may do what with a vApp (ControlAccessParams).
func (c *Client) SetControlAccess(ctx context.Context, vappHref string, body []byte) error {
	_, err := c.DoTask(ctx, Request{
		Method: http.MethodPost, Href: action(vappHref, "action/controlAccess"), ContentType: TypeControlAccess, Body: body,
	})
	return err
}

// SetOwner gives a vApp to a user.
func (c *Client) SetOwner(ctx context.Context, vappHref, userHref string) error {
	body, err := ownerBody(userHref)
	if err != nil {
		return fmt.Errorf("encode owner: %w", err)
	}
	return c.PutSection(ctx, action(vappHref, "owner"), TypeOwner, body)
}

func ownerBody(userHref string) ([]byte, error) {
	return encode(struct {
		XMLName xml.Name `xml:"Owner"`
		NS      string   `xml:"xmlns,attr"`
		User    hrefRef
	}{NS: nsVCloud, User: hrefRef{userHref, TypeUser}})
}

// ReconfigureVM applies a Vm document to a VM and waits. Sections that the
// document leaves out stay as they are.
func (c *Client) ReconfigureVM(ctx context.Context, vmHref string, body []byte) error {
	return c.act(ctx, vmHref, "action/reconfigureVm", TypeVM, body)
}

// PowerOn starts a vApp or VM and waits.
func (c *Client) PowerOn(ctx context.Context, href string) error {
	return c.act(ctx, href, "power/action/powerOn", "", nil)
}

// PowerOff switches a vApp or VM off and waits. It stays deployed: see Undeploy.
func (c *Client) PowerOff(ctx context.Context, href string) error {
	return c.act(ctx, href, "power/action/powerOff", "", nil)
}

// DiscardSuspendedState throws away the memory of a suspended vApp or VM and
// waits; its disks are as after a power cut.
func (c *Client) DiscardSuspendedState(ctx context.Context, href string) error {
	return c.act(ctx, href, "action/discardSuspendedState", "", nil)
}

// RemoveSnapshots removes all snapshots of a vApp or VM, whoever made them,
// and waits. Without any there is nothing to do.
func (c *Client) RemoveSnapshots(ctx context.Context, href string) error {
	return c.act(ctx, href, "action/removeAllSnapshots", "", nil)
}

// Undeploy stops a vApp or VM and gives its resources back. action is
// powerOff, shutdown, suspend, force or default (by the startup section).
func (c *Client) Undeploy(ctx context.Context, href, action string) error {
	body, err := undeployBody(action)
	if err != nil {
		return fmt.Errorf("encode undeploy: %w", err)
	}
	return c.act(ctx, href, "action/undeploy", TypeUndeployVApp, body)
}

func undeployBody(action string) ([]byte, error) {
	return encode(struct {
		XMLName xml.Name `xml:"UndeployVAppParams"`
		NS      string   `xml:"xmlns,attr"`
		Action  string   `xml:"UndeployPowerAction"`
	}{NS: nsVCloud, Action: action})
}

// DeleteVApp deletes a vApp with its VMs and their disks, and waits. It must
// not be deployed. One that is gone is no error.
func (c *Client) DeleteVApp(ctx context.Context, href string) error { return c.delete(ctx, href) }

// DeleteVM deletes a VM with its disks, and waits. It must not be deployed.
// One that is gone is no error.
func (c *Client) DeleteVM(ctx context.Context, href string) error { return c.delete(ctx, href) }

func (c *Client) delete(ctx context.Context, href string) error {
	_, err := c.DoTask(ctx, Request{Method: http.MethodDelete, Href: href})
	if gone(err) {
		return nil
	}
	return err
}

func (c *Client) act(ctx context.Context, href, name, contentType string, body []byte) error {
	_, err := c.DoTask(ctx, Request{
		Method: http.MethodPost, Href: action(href, name), ContentType: contentType, Body: body,
	})
	return err
}

// InsertMedia inserts a medium into an empty drive of a VM and waits for it.
func (c *Client) InsertMedia(ctx context.Context, vmHref, mediaHref string) error {
	body, err := encode(struct {
		XMLName xml.Name `xml:"MediaInsertOrEjectParams"`
		NS      string   `xml:"xmlns,attr"`
		Media   hrefRef  `xml:"Media"`
	}{NS: nsVCloud, Media: hrefRef{Href: mediaHref}})
	if err != nil {
		return err
	}
	return c.act(ctx, vmHref, "media/action/insertMedia", TypeMediaInsert, body)
}
