package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// A look is what the test itself sees of a vApp: every element and attribute
// of its documents and the content of every disk, as lines. It is made by
// other means than the product's own comparison, which it judges.
type look []string

// whole are elements that stand in one line with all that is in them, because
// there are several of them side by side.
var whole = map[string]bool{
	"NetworkConnection": true, "FirewallRule": true, "NatRule": true, "StaticRoute": true, "MetadataEntry": true, "AccessSetting": true,
	"ProductSection": true, "DiskSettings": true, "IpRange": true, "Item": true, "ExtraConfig": true, "MediaSettings": true, "VmReference": true,
}

// unseen are elements and attributes that are the cloud's own business, or
// differ with every object that is made.
var unseen = map[string]string{
	"Link": "what a caller may do next", "Tasks": "what is under way", "href": "where", "Id": "a number that the server gives", "operationKey": "of a call",
	"DateCreated": "when", "created": "when", "VCloudExtension": "an identity in vSphere", "VmVimInfo": "an identity in vSphere",
	"status": "the power state, which a restore leaves off", "deployed": "the power state", "IsDeployed": "the power state", "DeploymentLeaseExpiration": "a moment",
	"StorageLeaseExpiration": "a moment", "DeploymentLeaseRemaining": "a moment", "StorageLeaseRemaining": "a moment", "InMaintenanceMode": "the run's",
	"RuntimeInfoSection": "the guest's", "Environment": "made for a VM that runs", "SnapshotSection": "is recorded, not restored",
	"VirtualSystemIdentifier": "the name in vSphere", "RouterInfo": "the router's address is the pool's to give", "ovfDescriptorUploaded": "how it came to be",
	"schemaLocation": "of the document", "VirtualMachineId": "an identity", "disk": "an identity; named disks have a line of their own", "storageProfileHref": "an identity",
	"VirtualCpuType": "the host's",
}

// look looks at a vApp: "what: path = text", sorted.
func (e *env) look(v *vcd.VApp) look {
	e.t.Helper()
	var out look
	document := func(what, href string) {
		doc, err := e.vcd.Get(e.t.Context(), href)
		var gone *vcd.Error
		if errors.As(err, &gone) && gone.Status < 500 {
			out = append(out, fmt.Sprintf("%s: HTTP %d", what, gone.Status))
			return
		}
		if err != nil {
			e.t.Fatal(err)
		}
		lines, err := linesOf(doc.Raw)
		if err != nil {
			e.t.Fatalf("%s: %v", what, err)
		}
		for _, line := range lines {
			out = append(out, what+": "+line)
		}
	}
	document("vApp", v.Href)
	for _, below := range []string{"controlAccess/", "metadata", "productSections/", "owner", "startupSection/"} {
		document("vApp "+below, v.Href+"/"+below)
	}
	for _, vm := range v.VMs {
		for _, below := range []string{"metadata", "productSections/", "guestCustomizationSection/", "vmCapabilities/"} {
			document("vm "+vm.Name+" "+below, vm.Href+"/"+below)
		}
		for _, tag := range e.tagsOf(vm) {
			out = append(out, "vm "+vm.Name+": security tag "+tag)
		}
		out = append(out, e.devices(vm)...)
	}
	out = append(out, e.disksOf(v)...)
	out = append(out, e.rulesOf(v)...)
	slices.Sort(out)
	return out
}

func (e *env) tagsOf(vm vcd.VM) []string {
	e.t.Helper()
	answer, err := e.vcd.Do(e.t.Context(), vcd.Request{Method: http.MethodGet, Href: "/cloudapi/1.0.0/securityTags/vm/" + vm.ID})
	if err != nil {
		e.t.Fatal(err)
	}
	var tags struct{ Tags []string }
	if err := json.Unmarshal(answer.Body, &tags); err != nil {
		e.t.Fatal(err)
	}
	return tags.Tags
}

// devices are the disks of a VM as vSphere has them, with what is on them.
func (e *env) devices(vm vcd.VM) look {
	e.t.Helper()
	var out look
	server := e.cloud.VCenter("vc1")
	config, err := e.vsphere(vm).Config(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	for i := range config.Disks {
		guest, err := server.Disk(vm.VimInfo.VMMoRef, i)
		if err != nil {
			e.t.Fatal(err)
		}
		d := config.Disks[slices.IndexFunc(config.Disks, func(d vsphere.Disk) bool { return d.Key == guest.Key() })]
		h := sha256.New()
		if _, err := io.Copy(h, io.NewSectionReader(guest, 0, guest.Size())); err != nil {
			e.t.Fatal(err)
		}
		line := fmt.Sprintf("vm %s: disk %d on %d:%d, %d bytes, uuid %s, sha256 %s", vm.Name, d.Key, d.ControllerKey, d.Unit, d.Capacity, d.UUID, hex.EncodeToString(h.Sum(nil)))
		out = append(out, line)
	}
	return out
}

// disksOf are the named disks that a vApp's VMs have attached.
func (e *env) disksOf(v *vcd.VApp) look {
	e.t.Helper()
	var out look
	for r, err := range e.vcd.Query(e.t.Context(), "adminDisk", "") {
		if err != nil {
			e.t.Fatal(err)
		}
		doc, err := e.vcd.Get(e.t.Context(), "/api/disk/"+vcd.UUID(vcd.URN(r.Href))+"/attachedVms")
		if err != nil {
			e.t.Fatal(err)
		}
		for _, vm := range v.VMs {
			if strings.Contains(string(doc.Raw), vcd.UUID(vm.ID)) {
				out = append(out, "vm "+vm.Name+": named disk "+r.Attrs["name"])
			}
		}
	}
	return out
}

// rulesOf are the affinity rules that name VMs of a vApp.
func (e *env) rulesOf(v *vcd.VApp) look {
	e.t.Helper()
	doc, err := e.vcd.Get(e.t.Context(), v.VDC.Href+"/vmAffinityRules")
	if err != nil {
		e.t.Fatal(err)
	}
	var list struct {
		Rules []struct {
			Name, Polarity         string
			IsEnabled, IsMandatory string
			VMs                    []struct {
				Name string `xml:"name,attr"`
				Href string `xml:"href,attr"`
			} `xml:"VmReferences>VmReference"`
		} `xml:"VmAffinityRule"`
	}
	if err := xml.Unmarshal(doc.Raw, &list); err != nil {
		e.t.Fatal(err)
	}
	var out look
	for _, r := range list.Rules {
		var names []string
		for _, ref := range r.VMs {
			if slices.ContainsFunc(v.VMs, func(vm vcd.VM) bool { return vcd.UUID(vm.ID) == vcd.UUID(vcd.URN(ref.Href)) }) {
				names = append(names, ref.Name)
			}
		}
		if len(names) > 0 {
			out = append(out, fmt.Sprintf("affinity rule %s: %s, enabled %s, mandatory %s: %q", r.Name, r.Polarity, r.IsEnabled, r.IsMandatory, names))
		}
	}
	return out
}

// An element as it came, without namespaces.
type element struct {
	name     string
	attrs    []string
	text     string
	children []*element
}

// linesOf is a document as lines, "path = text".
func linesOf(raw []byte) ([]string, error) {
	decoder := xml.NewDecoder(strings.NewReader(string(raw)))
	root := &element{}
	open := []*element{root}
	for {
		token, err := decoder.Token()
		if err == io.EOF { //nolint:errorlint // as documented
			break
		}
		if err != nil {
			return nil, err
		}
		top := open[len(open)-1]
		switch t := token.(type) {
		case xml.StartElement:
			child := &element{name: t.Name.Local}
			for _, a := range t.Attr {
				if a.Name.Space == "" && a.Name.Local == "id" || a.Name.Space == "xmlns" || a.Name.Local == "xmlns" || unseen[a.Name.Local] != "" || strings.HasPrefix(a.Value, "application/") {
					continue
				}
				value := a.Value
				if a.Name.Local == "type" {
					value = value[strings.LastIndexByte(value, ':')+1:]
				}
				child.attrs = append(child.attrs, "@"+a.Name.Local+"="+value)
			}
			slices.Sort(child.attrs)
			top.children, open = append(top.children, child), append(open, child)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			top.text += string(t)
		}
	}
	var out []string
	for _, c := range root.children {
		c.lines("", &out)
	}
	return out, nil
}

func (el *element) lines(path string, out *[]string) {
	if unseen[el.name] != "" {
		return
	}
	path += "/" + el.name
	if whole[el.name] {
		*out = append(*out, path+" "+el.one())
		return
	}
	for _, a := range el.attrs {
		*out = append(*out, path+a)
	}
	if text := strings.TrimSpace(el.text); text != "" && len(el.children) == 0 {
		*out = append(*out, path+" = "+el.text)
	}
	for _, c := range el.children {
		below := path
		if name := c.attr("networkName"); name != "" {
			below += "(" + name + ")"
		}
		if c.name == "Vm" {
			below += "(" + c.attr("name") + ")"
		}
		c.lines(below, out)
	}
}

func (el *element) attr(name string) string {
	for _, a := range el.attrs {
		if v, ok := strings.CutPrefix(a, "@"+name+"="); ok {
			return v
		}
	}
	return ""
}

// one is an element in one line. Optional elements that are empty say nothing.
func (el *element) one() string {
	parts := slices.Clone(el.attrs)
	if text := strings.TrimSpace(el.text); text != "" && len(el.children) == 0 {
		parts = append(parts, text)
	}
	for _, c := range el.children {
		if unseen[c.name] == "" {
			parts = append(parts, c.name+"{"+c.one()+"}")
		}
	}
	return strings.Join(parts, " ")
}

// differs returns the lines that are only in one of two looks: "-" what is
// lost, "+" what came.
func (l look) differs(got look) []string {
	count := map[string]int{}
	for _, line := range l {
		count[line]--
	}
	for _, line := range got {
		count[line]++
	}
	var out []string
	for line, n := range count {
		for ; n < 0; n++ {
			out = append(out, "- "+line)
		}
		for ; n > 0; n-- {
			out = append(out, "+ "+line)
		}
	}
	slices.SortFunc(out, func(a, b string) int { return strings.Compare(a[2:]+a[:1], b[2:]+b[:1]) })
	return out
}

// unexplained are differences that no pattern matches.
func unexplained(lines []string, patterns map[string]string) []string {
	return slices.DeleteFunc(lines, func(line string) bool {
		for p := range patterns {
			if regexp.MustCompile(p).MatchString(line) {
				return true
			}
		}
		return false
	})
}
