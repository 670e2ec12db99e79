<#
.SYNOPSIS
Makes the collector's virtual machine on this Hyper-V host, and has frames mirrored to it.

.DESCRIPTION
The machine gets a copy of the disk, Generation 2, Secure Boot, and two network adapters: Management, which reaches you
and the t-meter, and Mirror, a trunk at which the mirrored frames arrive with their VLAN tags.

Where the frames come from is up to you: -PbxVM, a PBX that runs on this host, or -PhysicalSpan, the mirror port of a
real switch, whose cable is in a network card of this host.

Everything is looked at first, and all that is wrong is said. If something goes wrong later, or you press Ctrl-C, what
was made and changed is taken back. With -WhatIf nothing is changed.

.PARAMETER Vhdx
The disk: collector-VERSION.vhdx, unpacked. It is copied.

.PARAMETER ManagementSwitch
The virtual switch of the Management adapter.

.PARAMETER MirrorSwitch
The virtual switch of the Mirror adapter: the PBX's own, or the one on the network card that the mirror port's cable is
in.

.PARAMETER Name
The machine's name.

.PARAMETER Folder
Where its disk is put. Where this host has its disks, if you do not say.

.PARAMETER PbxVM
The PBX's virtual machine. All that its adapters on the mirror switch send and receive is mirrored.

.PARAMETER PbxAdapter
Which of the PBX's adapters, by name, where not all of them are meant.

.PARAMETER PhysicalSpan
All that arrives at the mirror switch's network card is mirrored. Turns on the switch's extension Microsoft NDIS
Capture, and makes its external port a source.

.PARAMETER Vlans
The VLANs of the trunk.

.PARAMETER ManagementVlan
The VLAN of the Management adapter; 0 for none.

.PARAMETER Processors
How many virtual processors.

.PARAMETER Memory
How much memory, such as 2gb.

.PARAMETER Start
Starts the machine.

.EXAMPLE
.\New-CollectorVM.ps1 -Vhdx C:\collector-0.1.0.vhdx -ManagementSwitch External -MirrorSwitch External -PbxVM pbx -WhatIf

Says what would be done for a PBX on this host, and does nothing.

.EXAMPLE
.\New-CollectorVM.ps1 -Vhdx C:\collector-0.1.0.vhdx -ManagementSwitch External -MirrorSwitch Span -PhysicalSpan -Start

The mirror port's cable is in the network card of the virtual switch Span.
#>
#Requires -Version 5.1
[CmdletBinding(SupportsShouldProcess)]
param(
    [Parameter(Mandatory)] [ValidateNotNullOrEmpty()] [string] $Vhdx,
    [Parameter(Mandatory)] [ValidateNotNullOrEmpty()] [string] $ManagementSwitch,
    [Parameter(Mandatory)] [ValidateNotNullOrEmpty()] [string] $MirrorSwitch,
    [ValidatePattern('^[A-Za-z0-9][A-Za-z0-9 ._-]*$')] [string] $Name = 'collector',
    [string] $Folder = '',
    [string] $PbxVM = '',
    [string] $PbxAdapter = '*',
    [switch] $PhysicalSpan,
    [ValidatePattern('^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$')] [string] $Vlans = '1-4094',
    [ValidateRange(0, 4094)] [int] $ManagementVlan = 0,
    [ValidateRange(1, 64)] [int] $Processors = 2,
    [long] $Memory = 1gb,
    [switch] $Start
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

# By number: their names are in the language of Windows.
$NdisCapture = 'EA24CD6C-D17A-4348-9190-09F0D5BE83DD'
$PortSecurity = '776E0BA7-94A1-41C8-8F28-951F524251B5'
$HyperVAdministrators = 'S-1-5-32-578'
$MonitorSource = 2

function Stop-WithWords([string[]] $Problems) {
    foreach ($problem in $Problems) { $Host.UI.WriteErrorLine("error: $problem") }
    $Host.UI.WriteErrorLine('Nothing was changed.')
    exit 1
}

function Test-MayManage {
    $user = [Security.Principal.WindowsPrincipal] [Security.Principal.WindowsIdentity]::GetCurrent()
    $user.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator) -or
        $user.IsInRole([Security.Principal.SecurityIdentifier] $HyperVAdministrators)
}

function Get-PbxAdapter {
    @(Get-VMNetworkAdapter -VMName $PbxVM |
            Where-Object { $_.SwitchName -eq $MirrorSwitch -and $_.Name -like $PbxAdapter })
}

function Find-DiskProblem {
    if ($Vhdx -notlike '*.vhdx') {
        "$Vhdx is not a .vhdx file. Unpack the download first: Expand-Archive collector-VERSION.vhdx.zip"
    } elseif (-not (Test-Path -LiteralPath $Vhdx -PathType Leaf)) {
        "There is no file $Vhdx."
    }
    if (-not (Test-Path -LiteralPath $Folder -PathType Container)) {
        "There is no folder $Folder. Make it, or give another as -Folder."
    } elseif (Test-Path -LiteralPath $disk) {
        "There is a file $disk already. Give another -Name or -Folder."
    }
}

function Find-SwitchProblem {
    $switches = @(Get-VMSwitch)
    $names = @($switches | ForEach-Object Name)
    foreach ($wanted in @($ManagementSwitch, $MirrorSwitch) | Select-Object -Unique) {
        if ($names -notcontains $wanted) {
            "There is no virtual switch '$wanted'. There are: $($names -join ', ')"
        }
    }
    if (-not $PhysicalSpan) { return }
    if ($ManagementSwitch -eq $MirrorSwitch) {
        "-PhysicalSpan needs a -MirrorSwitch of its own: what the collector sends would be mirrored to it again."
    }
    if (@($switches | Where-Object { $_.Name -eq $MirrorSwitch -and $_.SwitchType -ne 'External' })) {
        "'$MirrorSwitch' is not an external switch: no network card is in it, so no mirror port's cable."
    }
}

function Find-PbxProblem {
    if (-not $PbxVM) { return }
    if (-not (Get-VM -Name $PbxVM -ErrorAction SilentlyContinue)) {
        "There is no virtual machine '$PbxVM' on this host. Its name is in: Get-VM"
    } elseif (-not (Get-PbxAdapter)) {
        "'$PbxVM' has no adapter '$PbxAdapter' on the switch '$MirrorSwitch', and mirroring works within one switch " +
            "only. Its adapters and their switches: Get-VMNetworkAdapter -VMName '$PbxVM'"
    }
}

function Find-NameProblem {
    if (Get-VM -Name $Name -ErrorAction SilentlyContinue) {
        "There is a virtual machine '$Name' already. Give another -Name."
    }
}

$undoing = [Collections.Generic.Stack[hashtable]]::new()

# What takes a step back is noted before it is done: it may fail half-way.
function Invoke-Step([string] $Target, [string] $Action, [scriptblock] $Do, [scriptblock] $Undo, [object[]] $With) {
    if (-not $PSCmdlet.ShouldProcess($Target, $Action)) { return }
    if ($Undo) { $undoing.Push(@{ Do = $Undo; With = $With }) }
    & $Do | Out-Null
}

function Undo-Step {
    while ($undoing.Count) {
        $step = $undoing.Pop()
        $with = $step.With
        try { & $step.Do @with | Out-Null } catch { Write-Warning "Not taken back: $($_.Exception.Message)" }
    }
}

function New-Machine {
    Invoke-Step $disk "Copy $Vhdx" -Do {
        Copy-Item -LiteralPath $Vhdx -Destination $disk
    } -Undo {
        Remove-Item -LiteralPath $disk -Force -ErrorAction Ignore
    }
    Invoke-Step $Name 'Make a virtual machine of Generation 2' -Do {
        New-VM -Name $Name -Generation 2 -MemoryStartupBytes $Memory -VHDPath $disk -SwitchName $ManagementSwitch
    } -Undo {
        Get-VM -Name $Name -ErrorAction Ignore | Remove-VM -Force
    }
    Invoke-Step $Name "Give it $Processors processors and fixed memory, and start it with this host" -Do {
        Set-VM -Name $Name -ProcessorCount $Processors -StaticMemory
        Set-VM -Name $Name -AutomaticStartAction Start -AutomaticStopAction ShutDown
    }
    Invoke-Step $Name 'Turn on Secure Boot, with the template MicrosoftUEFICertificateAuthority' -Do {
        Set-VMFirmware -VMName $Name -EnableSecureBoot On -SecureBootTemplate MicrosoftUEFICertificateAuthority
        Set-VMFirmware -VMName $Name -FirstBootDevice (Get-VMHardDiskDrive -VMName $Name)
    }
    Invoke-Step $Name "Name its adapter Management, in VLAN $ManagementVlan" -Do {
        Rename-VMNetworkAdapter -VMName $Name -NewName Management
        if ($ManagementVlan) {
            Set-VMNetworkAdapterVlan -VMName $Name -VMNetworkAdapterName Management -Access -VlanId $ManagementVlan
        }
    }
}

function Add-MirrorAdapter {
    Invoke-Step $Name "Add the adapter Mirror on the switch '$MirrorSwitch', a trunk of the VLANs $Vlans" -Do {
        Add-VMNetworkAdapter -VMName $Name -Name Mirror -SwitchName $MirrorSwitch
        $trunk = @{ AllowedVlanIdList = $Vlans; NativeVlanId = 0 }
        Set-VMNetworkAdapterVlan -VMName $Name -VMNetworkAdapterName Mirror -Trunk @trunk
    }
    Invoke-Step $Name 'Make Mirror the destination of port mirroring' -Do {
        Set-VMNetworkAdapter -VMName $Name -Name Mirror -PortMirroring Destination
    }
}

function Set-PbxSource {
    foreach ($adapter in Get-PbxAdapter) {
        Invoke-Step $PbxVM "Make its adapter '$($adapter.Name)' a source of port mirroring" -Do {
            Set-VMNetworkAdapter -VMNetworkAdapter $adapter -PortMirroring Source
        } -Undo {
            param($adapter, $mode)
            Set-VMNetworkAdapter -VMNetworkAdapter $adapter -PortMirroring $mode
        } -With $adapter, $adapter.PortMirroringMode
    }
}

function Enable-Capture {
    $extension = Get-VMSwitchExtension -VMSwitchName $MirrorSwitch | Where-Object Id -EQ $NdisCapture
    if (-not $extension) { throw "The switch '$MirrorSwitch' has no extension Microsoft NDIS Capture." }
    if ($extension.Enabled) { return }
    Invoke-Step $MirrorSwitch "Turn on the extension $($extension.Name)" -Do {
        Enable-VMSwitchExtension -VMSwitchExtension $extension
    } -Undo {
        param($extension)
        Disable-VMSwitchExtension -VMSwitchExtension $extension
    } -With $extension
}

function Set-ExternalSource {
    $action = 'Make its external port a source of port mirroring (MonitorMode 2)'
    $port = @{ ExternalPort = $true; SwitchName = $MirrorSwitch }
    $feature = Get-VMSwitchExtensionPortFeature @port -FeatureId $PortSecurity
    if ($feature) {
        Invoke-Step $MirrorSwitch $action -Do {
            $feature.SettingData.MonitorMode = $MonitorSource
            Set-VMSwitchExtensionPortFeature @port -VMSwitchExtensionFeature $feature
        } -Undo {
            param($port, $feature, $mode)
            $feature.SettingData.MonitorMode = $mode
            Set-VMSwitchExtensionPortFeature @port -VMSwitchExtensionFeature $feature
        } -With $port, $feature, $feature.SettingData.MonitorMode
        return
    }
    $feature = Get-VMSystemSwitchExtensionPortFeature -FeatureId $PortSecurity
    Invoke-Step $MirrorSwitch $action -Do {
        $feature.SettingData.MonitorMode = $MonitorSource
        Add-VMSwitchExtensionPortFeature @port -VMSwitchExtensionFeature $feature
    } -Undo {
        param($port)
        $added = Get-VMSwitchExtensionPortFeature @port -FeatureId $PortSecurity
        if ($added) { Remove-VMSwitchExtensionPortFeature @port -VMSwitchExtensionFeature $added }
    } -With $port
}

function Start-Machine {
    Invoke-Step $Name 'Start it' -Do { Start-VM -Name $Name } -Undo { Stop-VM -Name $Name -TurnOff -Force }
}

function Show-Next {
    Get-VMNetworkAdapter -VMName $Name | Select-Object -Property @('Name', 'SwitchName', 'MacAddress')
    if (-not ($PbxVM -or $PhysicalSpan)) {
        Write-Warning 'Nothing is mirrored yet: neither -PbxVM nor -PhysicalSpan was given.'
    }
    "Its screen: vmconnect localhost '$Name'. Log in as admin, choose a password, and write: sudo collector setup"
}

if (-not (Get-Module -ListAvailable -Name Hyper-V)) {
    Stop-WithWords ("PowerShell's module Hyper-V is missing here. On Windows Server: " +
        'Install-WindowsFeature Hyper-V-PowerShell. On Windows 10 and 11: Enable-WindowsOptionalFeature -Online ' +
        '-FeatureName Microsoft-Hyper-V-Management-PowerShell')
}
if (-not (Test-MayManage)) {
    Stop-WithWords 'This needs an administrator: right-click PowerShell, and choose Run as administrator.'
}
if (-not $Folder) { $Folder = (Get-VMHost).VirtualHardDiskPath }
$disk = Join-Path $Folder "$Name.vhdx"
$problems = @(Find-NameProblem; Find-DiskProblem; Find-SwitchProblem; Find-PbxProblem)
if ($problems) { Stop-WithWords $problems }

$done = $false
try {
    New-Machine
    Add-MirrorAdapter
    if ($PbxVM) { Set-PbxSource }
    if ($PhysicalSpan) {
        Enable-Capture
        Set-ExternalSource
    }
    if ($Start) { Start-Machine }
    $done = $true
} catch {
    $Host.UI.WriteErrorLine("error: $($_.Exception.Message)")
} finally {
    if (-not $done) { Undo-Step }
}
if (-not $done) {
    $Host.UI.WriteErrorLine('What was made and changed has been taken back.')
    exit 1
}
if (-not $WhatIfPreference) { Show-Next }
