package vcd

import (
	"context"
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"
)

// ImportAsVApp describes a vApp to be made of one VM that stands in vSphere,
// powered off and without snapshots (ImportVmAsVAppParamsType).
type ImportAsVApp struct {
	Name, Description string
	// NetworkConfigSection is the section's document, with or without an XML
	// declaration; nil for none.
	NetworkConfigSection []byte
	VMName               string
	ScopedLocalID        string // VAppScopedLocalId, to which NAT rules refer
	ComputerName         string
	MoRef                string // "vm-42"
	StorageProfileHref   string // "" for the VDC's default
	VDCHref              string
}

// ImportIntoVApp describes a VM to be added to an existing vApp
// (ImportVmIntoExistingVAppParamsType).
type ImportIntoVApp struct {
	VAppHref              string
	VMName, VMDescription string
	ScopedLocalID         string
	ComputerName          string
	MoRef                 string
	StorageProfileHref    string
}

// ImportVM describes a VM to be imported as a standalone one (ImportVmParamsType).
type ImportVM struct {
	Name, Description  string
	VMName             string
	ScopedLocalID      string
	ComputerName       string
	MoRef              string
	StorageProfileHref string
	VDCHref            string
}

// importHead starts each import body. Its source is always moved: left in
// place it would remain as a second VM with a copy of every disk.
type importHead struct {
	NS         string `xml:"xmlns,attr"`
	VMExt      string `xml:"xmlns:vmext,attr"`
	SourceMove bool   `xml:"sourceMove,attr"`
}

func newImportHead() importHead { return importHead{NS: nsVCloud, VMExt: nsVMExt, SourceMove: true} }

// importedVM is what all import bodies have in the same order.
type importedVM struct {
	ScopedLocalID  string   `xml:"vmext:VAppScopedLocalId,omitempty"`
	ComputerName   string   `xml:"vmext:ComputerName,omitempty"`
	MoRef          string   `xml:"vmext:VmMoRef"`
	StorageProfile *hrefRef `xml:"vmext:VdcStorageProfile,omitempty"`
}

type hrefRef struct {
	Href string `xml:"href,attr"`
	Type string `xml:"type,attr,omitempty"`
}

func optionalRef(href string) *hrefRef {
	if href == "" {
		return nil
	}
	return &hrefRef{Href: href}
}

// instantiation carries a NetworkConfigSection into a new vApp.
type instantiation struct {
	Section []byte `xml:",innerxml"`
}

func newInstantiation(networkConfig []byte) (*instantiation, error) {
	if len(networkConfig) == 0 {
		return nil, nil
	}
	section, err := fragment(networkConfig)
	if err != nil {
		return nil, fmt.Errorf("network configuration: %w", err)
	}
	return &instantiation{section}, nil
}

func (p ImportAsVApp) body() ([]byte, error) {
	params, err := newInstantiation(p.NetworkConfigSection)
	if err != nil {
		return nil, err
	}
	return encode(struct {
		XMLName xml.Name `xml:"vmext:ImportVmAsVAppParams"`
		importHead
		Name          string         `xml:"name,attr"`
		Description   string         `xml:"Description"`
		Instantiation *instantiation `xml:"InstantiationParams,omitempty"`
		VMName        string         `xml:"vmext:VmName,omitempty"`
		importedVM
		VDC hrefRef `xml:"vmext:Vdc"`
	}{
		importHead: newImportHead(), Name: p.Name, Description: p.Description, Instantiation: params, VMName: p.VMName,
		importedVM: importedVM{p.ScopedLocalID, p.ComputerName, p.MoRef, optionalRef(p.StorageProfileHref)},
		VDC:        hrefRef{Href: p.VDCHref},
	})
}

func (p ImportIntoVApp) body() ([]byte, error) {
	return encode(struct {
		XMLName xml.Name `xml:"vmext:ImportVmIntoExistingVAppParams"`
		importHead
		VMName      string `xml:"vmext:VmName"`
		Description string `xml:"vmext:VmDescription,omitempty"`
		importedVM
		VApp hrefRef `xml:"vmext:VApp"`
	}{
		importHead: newImportHead(), VMName: p.VMName, Description: p.VMDescription,
		importedVM: importedVM{p.ScopedLocalID, p.ComputerName, p.MoRef, optionalRef(p.StorageProfileHref)},
		VApp:       hrefRef{Href: p.VAppHref},
	})
}

func (p ImportVM) body() ([]byte, error) {
	return encode(struct {
		XMLName xml.Name `xml:"vmext:ImportVmParams"`
		importHead
		Name        string `xml:"name,attr"`
		Description string `xml:"Description"`
		VMName      string `xml:"vmext:VmName"`
		importedVM
		VDC hrefRef `xml:"vmext:Vdc"`
	}{
		importHead: newImportHead(), Name: p.Name, Description: p.Description, VMName: p.VMName,
		importedVM: importedVM{p.ScopedLocalID, p.ComputerName, p.MoRef, optionalRef(p.StorageProfileHref)},
		VDC:        hrefRef{Href: p.VDCHref},
	})
}

// ImportVMAsVApp moves a VM of the vCenter at vimServerHref into a new vApp
// and waits for it. The href is returned with an error too, once the server
// has made the vApp: the caller has something to clean up.
func (c *Client) ImportVMAsVApp(ctx context.Context, vimServerHref string, p ImportAsVApp) (vappHref string, err error) {
	body, err := p.body()
	if err != nil {
		return "", fmt.Errorf("import VM %s as vApp %s: %w", p.MoRef, p.Name, err)
	}
	vappHref, err = c.create(ctx, Request{
		Href: action(vimServerHref, "importVmAsVApp"), ContentType: TypeImportVMAsVApp, Body: body,
	})
	if err != nil {
		return vappHref, fmt.Errorf("import VM %s as vApp %s: %w", p.MoRef, p.Name, err)
	}
	return vappHref, nil
}

// ImportVMIntoVApp moves a VM of the vCenter at vimServerHref into an
// existing vApp and waits for it.
func (c *Client) ImportVMIntoVApp(ctx context.Context, vimServerHref string, p ImportIntoVApp) error {
	body, err := p.body()
	if err == nil {
		_, err = c.DoTask(ctx, Request{
			Method: http.MethodPost, Href: action(vimServerHref, "importVmIntoExistingVApp"),
			ContentType: TypeImportVMIntoVApp, Body: body,
		})
	}
	if err != nil {
		return fmt.Errorf("import VM %s as %s: %w", p.MoRef, p.VMName, err)
	}
	return nil
}

// ImportVM moves a VM of the vCenter at vimServerHref into the cloud as a
// standalone VM and waits for it (API 30.0). The href is returned as by
// ImportVMAsVApp.
func (c *Client) ImportVM(ctx context.Context, vimServerHref string, p ImportVM) (vmHref string, err error) {
	body, err := p.body()
	if err == nil {
		vmHref, err = c.create(ctx, Request{
			Href: action(vimServerHref, "importVm"), ContentType: TypeImportVM, Body: body,
		})
	}
	if err != nil {
		return vmHref, fmt.Errorf("import VM %s as %s: %w", p.MoRef, p.Name, err)
	}
	return vmHref, nil
}

// ComposeVApp makes an empty vApp in a VDC and waits for it. networkConfig is
// a NetworkConfigSection document or nil.
func (c *Client) ComposeVApp(ctx context.Context, vdcHref, name, description string, networkConfig []byte) (vappHref string, err error) {
	body, err := composeBody(name, description, networkConfig)
	if err == nil {
		vappHref, err = c.create(ctx, Request{
			Href: action(vdcHref, "action/composeVApp"), ContentType: TypeComposeVApp, Body: body,
		})
	}
	if err != nil {
		return vappHref, fmt.Errorf("compose vApp %s: %w", name, err)
	}
	return vappHref, nil
}

func composeBody(name, description string, networkConfig []byte) ([]byte, error) {
	params, err := newInstantiation(networkConfig)
	if err != nil {
		return nil, err
	}
	return encode(struct {
		XMLName       xml.Name       `xml:"ComposeVAppParams"`
		NS            string         `xml:"xmlns,attr"`
		Name          string         `xml:"name,attr"`
		Deploy        bool           `xml:"deploy,attr"`
		PowerOn       bool           `xml:"powerOn,attr"`
		Description   string         `xml:"Description"`
		Instantiation *instantiation `xml:"InstantiationParams,omitempty"`
	}{NS: nsVCloud, Name: name, Description: description, Instantiation: params})
}

// create posts a request whose answer is the new entity, waits for its tasks
// and returns its href.
func (c *Client) create(ctx context.Context, r Request) (href string, err error) {
	r.Method = http.MethodPost
	answer, err := c.DoTask(ctx, r)
	if answer == nil {
		return "", err
	}
	var e struct {
		Href string `xml:"href,attr"`
	}
	if parseErr := parse(answer.Body, "", &e); parseErr == nil && e.Href != "" {
		return e.Href, err
	}
	if err == nil {
		err = fmt.Errorf("%s %s: the answer names no entity", r.Method, r.path())
	}
	return "", err
}

// action is the href of something below an entity.
func action(href, name string) string { return strings.TrimRight(href, "/") + "/" + name }
