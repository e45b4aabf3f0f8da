# What an RT of the tests has beside okienko's own set-up: queues, a clerk, root's and the clerk's tokens.
# perl rt5_seed.pl FOLDER QUEUE…
use strict;
use warnings;
use lib '/usr/local/share/request-tracker5/lib', '/usr/share/request-tracker5/lib';
use RT -init;
my ( $folder, @queues ) = @ARGV;
my $system = RT->SystemUser;
sub must { my ( $ok, $message ) = @_; die "$message\n" unless $ok; return $ok }

for my $name ( @queues, 'Tajna' ) {
    must( RT::Queue->new($system)->Create( Name => $name, CorrespondAddress => lc($name) . '@okienko.invalid' ) );
}
# As everyone's RT has it: who is not known may write in.
my $everyone = RT::Group->new($system);
$everyone->LoadSystemInternalGroup('Everyone');
must( $everyone->PrincipalObj->GrantRight( Right => $_, Object => RT->System ) ) for qw(CreateTicket ReplyToTicket);

my $clerk = RT::User->new($system);
must( $clerk->Create( Name => 'zofia', EmailAddress => 'zofia@okienko.invalid', RealName => 'Zofia Zmyślona', Privileged => 1 ) );
must( $clerk->PrincipalObj->GrantRight( Right => $_, Object => RT->System ) )
    for qw(SeeQueue ShowTicket ShowTicketComments CommentOnTicket ReplyToTicket ModifyTicket OwnTicket TakeTicket SeeCustomField);
my $root = RT::User->new($system);
$root->Load('root');
# An account with a right less in each, for the checks.
my $poor = RT::User->new($system);
must( $poor->Create( Name => 'poor', Privileged => 1 ) );
for my $user ( $root, $clerk, $poor ) {
    my ( $ok, $message, $token ) = RT::AuthToken->new($system)->Create( Owner => $user->Id, Description => 'test' );
    must( $ok, $message );
    open my $file, '>', "$folder/out/" . $user->Name or die $!;
    print {$file} $token;
    close $file;
}
