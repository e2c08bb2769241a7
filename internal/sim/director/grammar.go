package director

import (
	"maps"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/beevik/etree"

	"github.com/vappvault/vappvault/internal/sim/wellformed"
)

// grammar says which elements a request's body may hold, in which order: the
// part of the published schemas that this server reads. A type is a sequence of
// fields "Name", each with an occurrence (? * + or none for exactly one) and a
// type after "=":
//
//	s string, i int, l long, f double, b boolean, d dateTime, ip address, any unchecked,
//	else the name of another type.
//
// A prefix names the namespace: o ovf, x extension, w extension or vCloud's (the
// documentation and the schemas disagree), none vCloud's. "A|B" is a choice, "^"
// allows the element at any place once (newer than the schemas), "~Section" is
// any number of sections, "..." any element of another namespace. "@name" is an
// attribute that must be there.
//
// Each area of the API has its own part.
var grammar = parts(coreGrammar, netGrammar, catalogGrammar, adminGrammar, vmGrammar, pvdcGrammar, vdcGrammar, policyGrammar)

func parts(all ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, part := range all {
		maps.Copy(out, part)
	}
	return out
}

var coreGrammar = map[string]string{
	"Reference": "@href VCloudExtension*=any",
	"Owner":     "VCloudExtension*=any Link*=any User=Reference",
	"VApp": "@name VCloudExtension*=any Link*=any Description?=s Tasks?=any Files?=any VAppParent?=Reference ~Section DateCreated?=d " +
		"Owner?=Owner autoNature?=b InMaintenanceMode?=b Children?=any LeaseSettingsSection^=any",
	"Vm": "@name VCloudExtension*=any Link*=any Description?=s Tasks?=any Files?=any VAppParent?=Reference ~Section DateCreated?=d " +
		"VAppScopedLocalId?=s e:Environment^=any VmCapabilities?=VmCapabilities StorageProfile?=Reference BootOptions?=BootOptions Media?=any " +
		"ComputePolicy^=ComputePolicy TrustedPlatformModule^=TrustedPlatformModule BootImage^=any",
	"VmCapabilities": "VCloudExtension*=any Link*=any MemoryHotAddEnabled?=b CpuHotAddEnabled?=b",
	"BootOptions": "VCloudExtension*=any Link*=any BootDelay?=l EnterBIOSSetup?=b EnterBiosSetup^=b BootRetryEnabled^=b " +
		"BootRetryDelay^=i EfiSecureBootEnabled^=b NetworkBootProtocol^=s Firmware^=s",
	"Section":              "o:Info=s ...",
	"LeaseSettingsSection": "o:Info=s Link*=any DeploymentLeaseInSeconds?=i StorageLeaseInSeconds?=i DeploymentLeaseExpiration?=d StorageLeaseExpiration?=d ...",
	"StartupSection":       "o:Info=s o:Item*=StartupItem Link*=any ...",
	"StartupItem":          "@id @order",
	"NetworkConfigSection": "o:Info=s Link*=any NetworkConfig*=NetworkConfig ...",
	"VAppNetwork":          "@name VCloudExtension*=any Link*=any Description?=s Tasks?=any Configuration=NetworkConfiguration",
	"NetworkConfig":        "@networkName VCloudExtension*=any Link*=any Description?=s Configuration=NetworkConfiguration IsDeployed?=b",
	"NetworkConfiguration": "VCloudExtension*=any BackwardCompatibilityMode?=b IpScope?=IpScope IpScopes?=IpScopes ParentNetwork?=Reference " +
		"FenceMode=s RetainNetInfoAcrossDeployments?=b Features?=Features SyslogServerSettings?=any RouterInfo?=any " +
		"AdvancedNetworkingEnabled?=b SubInterface?=b DistributedInterface?=b GuestVlanAllowed?=b ConnectionType^=s DualStackNetwork^=b",
	"IpScopes": "VCloudExtension*=any IpScope*=IpScope",
	"IpScope": "VCloudExtension*=any IsInherited=b Gateway?=ip Netmask?=ip Dns1?=ip Dns2?=ip DnsSuffix?=s IsEnabled?=b IpRanges?=IpRanges " +
		"AllocatedIpAddresses?=any SubAllocations?=any SubnetPrefixLength^=i",
	"IpRanges": "VCloudExtension*=any IpRange*=IpRange",
	"IpRange":  "VCloudExtension*=any StartAddress=ip EndAddress=ip",
	"Features": "VCloudExtension*=any DhcpService^=DhcpService FirewallService^=FirewallService NatService^=NatService " +
		"StaticRoutingService^=StaticRoutingService IpsecVpnService^=any NetworkService^=any GatewayDhcpService^=any LoadBalancerService^=any",
	"DhcpService": "VCloudExtension*=any IsEnabled?=b DefaultLeaseTime?=i MaxLeaseTime?=i IpRange?=IpRange RouterIp?=ip SubMask?=ip " +
		"PrimaryNameServer?=s SecondaryNameServer?=s DomainName?=s",
	"FirewallService": "VCloudExtension*=any IsEnabled?=b DefaultAction?=s LogDefaultAction?=b FirewallRule*=FirewallRule",
	"FirewallRule": "VCloudExtension*=any Id?=s IsEnabled?=b MatchOnTranslate?=b Description?=s Policy?=s Protocols?=any IcmpSubType?=s Port?=i " +
		"DestinationPortRange?=s DestinationIp|DestinationVm=any SourcePort?=i SourcePortRange?=s SourceIp|SourceVm=any Direction?=s EnableLogging?=b",
	"NatService": "VCloudExtension*=any IsEnabled?=b NatType?=s Policy?=s NatRule*=NatRule ExternalIp?=ip",
	"NatRule": "VCloudExtension*=any Description?=s RuleType?=s IsEnabled?=b Id?=i " +
		"GatewayNatRule|OneToOneBasicRule|OneToOneVmRule|PortForwardingRule|VmRule=@",
	"OneToOneBasicRule":    "VCloudExtension*=any MappingMode=s ExternalIpAddress=ip InternalIpAddress=ip",
	"OneToOneVmRule":       "VCloudExtension*=any MappingMode=s ExternalIpAddress?=ip VAppScopedVmId=s VmNicId=i",
	"PortForwardingRule":   "VCloudExtension*=any ExternalIpAddress=ip ExternalPort=i InternalIpAddress=ip InternalPort=i Protocol=s",
	"VmRule":               "VCloudExtension*=any ExternalIpAddress?=ip ExternalPort=i VAppScopedVmId=s VmNicId=i InternalPort=i Protocol=s",
	"GatewayNatRule":       "...",
	"StaticRoutingService": "VCloudExtension*=any IsEnabled?=b StaticRoute*=StaticRoute",
	"StaticRoute":          "VCloudExtension*=any Name=s Network=s NextHopIp=ip Interface?=s GatewayInterface?=Reference",

	"NetworkConnectionSection": "o:Info=s PrimaryNetworkConnectionIndex?=i NetworkConnection*=NetworkConnection Link*=any ...",
	"NetworkConnection": "@network VCloudExtension*=any NetworkConnectionIndex=i IpAddress?=ip ExternalIpAddress?=ip IsConnected=b " +
		"MACAddress?=s IpAddressAllocationMode=s NetworkAdapterType?=s IpType^=s SecondaryIpAddress^=s SecondaryIpType^=s " +
		"SecondaryIpAddressAllocationMode^=s",
	"GuestCustomizationSection": "o:Info=s Enabled?=b ChangeSid?=b VirtualMachineId?=s JoinDomainEnabled?=b UseOrgSettings?=b DomainName?=s " +
		"DomainUserName?=s DomainUserPassword?=s MachineObjectOU?=s AdminPasswordEnabled?=b AdminPasswordAuto?=b AdminPassword?=s " +
		"AdminAutoLogonEnabled?=b AdminAutoLogonCount?=i ResetPasswordRequired?=b CustomizationScript?=s ComputerName?=s Link*=any ...",
	"OperatingSystemSection": "o:Info=s o:Description?=s Link*=any ...",
	"VmSpecSection": "o:Info=s OsType?=s NumCpus?=i NumCoresPerSocket?=i CpuResourceMhz?=ComputeResource MemoryResourceMb?=ComputeResource " +
		"MediaSection?=MediaSection DiskSection?=DiskSection HardwareVersion?=s VmToolsVersion?=s ToolsGuestOsId?=s VirtualCpuType?=s TimeSyncWithHost?=b " +
		"Firmware^=s",
	"ComputeResource": "VCloudExtension*=any Configured=l Reservation?=l Limit?=l SharesLevel?=s Shares?=i",
	"DiskSection":     "VCloudExtension*=any DiskSettings*=DiskSettings",
	"DiskSettings": "VCloudExtension*=any DiskId?=s SizeMb=l UnitNumber=i BusNumber=i AdapterType=s ThinProvisioned?=b Disk?=Reference " +
		"StorageProfile?=Reference overrideVmDefault?=b iops?=l VirtualQuantityUnit^=s VirtualQuantity^=l IopsAllocation^=any " +
		"resizable^=b encrypted^=b shareable^=b sharingType^=s",
	"ProductSectionList": "VCloudExtension*=any Link*=any o:ProductSection*=any",

	"Metadata":      "VCloudExtension*=any Link*=any MetadataEntry*=MetadataEntry",
	"MetadataEntry": "VCloudExtension*=any Link*=any Domain?=s Key=s Value?=s TypedValue?=TypedValue",
	"MetadataValue": "VCloudExtension*=any Link*=any Domain?=s Value?=s TypedValue?=TypedValue",
	"TypedValue":    "@type Value=s",

	"ControlAccessParams": "VCloudExtension*=any IsSharedToEveryone=b EveryoneAccessLevel?=s AccessSettings?=AccessSettings",
	"AccessSettings":      "VCloudExtension*=any AccessSetting+=AccessSetting",
	"AccessSetting":       "VCloudExtension*=any Subject|ExternalSubject=Reference AccessLevel=s",

	"ImportVmAsVAppParams": "w:VCloudExtension*=any w:Description?=s w:VAppParent?=Reference w:InstantiationParams?=InstantiationParams x:VmName?=s " +
		"x:VAppScopedLocalId?=s x:ComputerName?=s x:VmMoRef=s w:VdcStorageProfile?=Reference w:Vdc=Reference x:ImportedDisk*=any",
	"ImportVmIntoExistingVAppParams": "w:VCloudExtension*=any x:VmName=s x:VmDescription?=s x:VAppScopedLocalId?=s x:ComputerName?=s x:VmMoRef=s " +
		"w:VdcStorageProfile?=Reference w:VApp=Reference x:ImportedDisk*=any",
	"ImportVmParams": "w:VCloudExtension*=any w:Description?=s x:VmName=s x:VAppScopedLocalId?=s x:ComputerName?=s x:VmMoRef=s " +
		"w:VdcStorageProfile?=Reference w:Vdc=Reference x:ImportedDisk*=any",
	"InstantiationParams": "VCloudExtension*=any ~Section",
	"ComposeVAppParams": "VCloudExtension*=any Description?=s VAppParent?=Reference InstantiationParams?=InstantiationParams " +
		"SourcedItem*=SourcedItem CreateItem*=Vm AllEULAsAccepted?=b",
	"RecomposeVAppParams": "VCloudExtension*=any Description?=s VAppParent?=Reference InstantiationParams?=InstantiationParams " +
		"SourcedItem*=SourcedItem CreateItem*=Vm AllEULAsAccepted?=b DeleteItem*=Reference ReconfigureItem*=Vm",
	"SourcedItem": "VCloudExtension*=any Source=Reference VmGeneralParams?=VmGeneralParams VAppScopedLocalId?=s " +
		"InstantiationParams?=InstantiationParams NetworkAssignment*=any StorageProfile?=Reference LocalityParams?=any VmCapabilities?=any " +
		"ComputePolicy^=any",
	"VmGeneralParams":      "VCloudExtension*=any Name?=s Description?=s NeedsCustomization?=b RegenerateBiosUuid?=b",
	"DeployVAppParams":     "VCloudExtension*=any",
	"UndeployVAppParams":   "VCloudExtension*=any UndeployPowerAction?=s",
	"CreateSnapshotParams": "VCloudExtension*=any Description?=s",
}

// sectionTypes are the members of ovf:Section's substitution group.
var sectionTypes = map[string]string{
	"LeaseSettingsSection": nsVCloud, "NetworkConfigSection": nsVCloud, "SnapshotSection": nsVCloud, "NetworkConnectionSection": nsVCloud,
	"GuestCustomizationSection": nsVCloud, "RuntimeInfoSection": nsVCloud, "VmSpecSection": nsVCloud, "DefaultStorageProfileSection": nsVCloud,
	"GuestCustomizationStatusSection": nsVCloud, "CustomizationSection": nsVCloud,
	"StartupSection": nsOVF, "NetworkSection": nsOVF, "VirtualHardwareSection": nsOVF, "OperatingSystemSection": nsOVF, "ProductSection": nsOVF,
	"AnnotationSection": nsOVF, "DiskSection": nsOVF, "EulaSection": nsOVF, "DeploymentOptionSection": nsOVF, "ResourceAllocationSection": nsOVF,
	"InstallSection": nsOVF,
}

// A field is one part of a type.
type field struct {
	names    []string
	ns       []string
	min, max int // max 0: unbounded
	typ      string
	anywhere bool
	special  string // "~Section", "..."
}

type rule struct {
	attrs  []string
	fields []field
}

// rules is the grammar, parsed.
var rules = sync.OnceValue(func() map[string]rule {
	out := map[string]rule{}
	for name, g := range grammar {
		var r rule
		for f := range strings.FieldsSeq(g) {
			if a, is := strings.CutPrefix(f, "@"); is {
				r.attrs = append(r.attrs, a)
				continue
			}
			r.fields = append(r.fields, parseField(f))
		}
		out[name] = r
	}
	return out
})

func parseField(s string) field {
	if s == "~Section" || s == "..." {
		return field{special: s}
	}
	f := field{min: 1, max: 1, ns: []string{nsVCloud}}
	s, f.typ, _ = strings.Cut(s, "=")
	if p, rest, found := strings.Cut(s, ":"); found {
		s = rest
		f.ns = map[string][]string{"o": {nsOVF}, "e": {nsEnv, nsVCloud}, "x": {nsExt}, "w": {nsExt, nsVCloud}}[p]
	}
	switch s[len(s)-1] {
	case '?':
		f.min = 0
	case '*':
		f.min, f.max = 0, 0
	case '+':
		f.max = 0
	case '^':
		f.min, f.anywhere = 0, true
	}
	f.names = strings.Split(strings.TrimRight(s, "?*+^"), "|")
	return f
}

func (f *field) takes(tag, ns string) bool {
	if f.special != "" {
		want, found := sectionTypes[tag]
		return f.special == "~Section" && found && want == ns || f.special == "..." && ns != nsVCloud && ns != nsExt
	}
	for _, n := range f.names {
		if n == tag {
			for _, u := range f.ns {
				if u == ns {
					return true
				}
			}
		}
	}
	return false
}

func (f *field) typeOf(tag string) string {
	if f.special == "~Section" {
		if _, found := grammar[tag]; found {
			return tag
		}
		return "any"
	}
	if f.special == "..." {
		return "any"
	}
	if f.typ == "@" {
		return tag
	}
	return f.typ
}

// parse reads a body whose root is one of those names in that namespace, and
// refuses it as the schema would. The result has this server's prefixes.
func (c *call) parse(ns string, names ...string) (*node, error) {
	return c.parseAs(ns, "", names...)
}

// parseAs is parse for a root whose type has another name than the element; ""
// is the element's.
func (c *call) parseAs(ns, typ string, names ...string) (*node, error) {
	if err := wellformed.Check(c.body); err != nil {
		return nil, badRequest("Bad request\n - Unexpected JAXB exception\n - The document is not well-formed: %s.",
			strings.TrimPrefix(err.Error(), "XML syntax error on "))
	}
	doc := etree.NewDocument()
	doc.ReadSettings.Entity, doc.ReadSettings.CharsetReader = map[string]string{}, wellformed.Charset
	if err := doc.ReadFromBytes(c.body); err != nil || doc.Root() == nil {
		return nil, badRequest("Bad request\n - Unexpected JAXB exception\n - The document is not well-formed.")
	}
	root := doc.Root()
	if err := bound(root); err != nil {
		return nil, err
	}
	for _, n := range names {
		if root.Tag == n && root.NamespaceURI() == ns {
			if err := check(root, or(typ, n)); err != nil {
				return nil, err
			}
			return canon(root), nil
		}
	}
	return nil, badRequest("Bad request\n - Unexpected JAXB exception\n - cvc-elt.1: Cannot find the declaration of element '%s'; '%s' in %s is expected.",
		root.FullTag(), names[0], ns)
}

// bound refuses prefixes that nothing declares: to vCD, which reads with
// namespaces, such a document is not well-formed.
func bound(e *node) error {
	if e.Space != "" && lookup(e, e.Space) == "" {
		return invalid("The prefix %q for element %q is not bound.", e.Space, e.FullTag())
	}
	for _, a := range e.Attr {
		if a.Space != "" && a.Space != "xmlns" && lookup(e, a.Space) == "" {
			return invalid("The prefix %q for attribute %q associated with an element type %q is not bound.", a.Space, a.FullKey(), e.FullTag())
		}
	}
	for _, k := range e.ChildElements() {
		if err := bound(k); err != nil {
			return err
		}
	}
	return nil
}

func invalid(format string, args ...any) *apiError {
	return badRequest("Bad request\n - Unexpected JAXB exception\n - "+format, args...)
}

// check tells whether e is what its type says.
func check(e *node, typ string) error {
	r, found := rules()[typ]
	if !found {
		return checkSimple(e, typ)
	}
	for _, a := range r.attrs {
		if e.SelectAttr(a) == nil && attr(e, a) == "" {
			return invalid("cvc-complex-type.4: Attribute '%s' must appear on element '%s'.", a, e.Tag)
		}
	}
	at, times := 0, 0
	for _, k := range e.ChildElements() {
		f, err := step(e, r.fields, &at, &times, k)
		if err != nil {
			return err
		}
		if err := check(k, f.typeOf(k.Tag)); err != nil {
			return err
		}
	}
	for i := at; i < len(r.fields); i++ {
		f := r.fields[i]
		if f.special == "" && f.min > 0 && (i > at || times == 0) {
			return invalid("cvc-complex-type.2.4.b: The content of element '%s' is not complete. One of '{%s}' is expected.",
				e.Tag, strings.Join(f.names, ", "))
		}
	}
	return nil
}

// step finds the field of k at or after the present one.
func step(e *node, fields []field, at, times *int, k *node) (*field, error) {
	ns := k.NamespaceURI()
	for i := *at; i < len(fields); i++ {
		f := &fields[i]
		if !f.anywhere && f.takes(k.Tag, ns) && (i > *at || f.max == 0 || *times < f.max) {
			if i > *at {
				*at, *times = i, 0
			}
			*times++
			return f, nil
		}
		done := i == *at && *times > 0
		if f.special == "" && f.min > 0 && !done {
			break
		}
	}
	for i := range fields {
		if fields[i].anywhere && fields[i].takes(k.Tag, ns) {
			return &fields[i], nil
		}
	}
	return nil, invalid("cvc-complex-type.2.4.a: Invalid content was found starting with element '{\"%s\":%s}' in '%s'.", ns, k.Tag, e.Tag)
}

func checkSimple(e *node, typ string) error {
	v := strings.TrimSpace(allText(e))
	var err error
	switch typ {
	case "i":
		_, err = strconv.ParseInt(v, 10, 32)
	case "l":
		_, err = strconv.ParseInt(v, 10, 64)
	case "f":
		_, err = strconv.ParseFloat(v, 64)
	case "b":
		if v != "true" && v != "false" && v != "1" && v != "0" {
			err = strconv.ErrSyntax
		}
	case "d":
		err = dateTime(v)
	case "ip":
		// "A valid IPv4 address or Any" (IpAddressType).
		if v != "" && !strings.EqualFold(v, "any") {
			_, err = netip.ParseAddr(v)
		}
	case "s":
		if len(e.ChildElements()) > 0 {
			err = strconv.ErrSyntax
		}
	}
	if err != nil {
		return invalid("cvc-datatype-valid.1.2.1: '%s' is not a valid value for '%s'.", v, e.Tag)
	}
	return nil
}

// dateTime checks an xs:dateTime, whose zone may be missing.
func dateTime(v string) error {
	_, err := time.Parse(time.RFC3339Nano, v)
	if err != nil {
		_, err = time.Parse("2006-01-02T15:04:05.999999999", v)
	}
	return err
}
