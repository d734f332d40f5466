import com.sun.mail.imap.IMAPFolder;
import java.util.Properties;
import javax.mail.Folder;
import javax.mail.Session;
import javax.mail.Store;
import javax.mail.event.MessageCountAdapter;
import javax.mail.event.MessageCountEvent;

/** JavaMail: Idle PORT USER PASSWORD shows the dialogue, waits for one message by IDLE, says so, and ends. */
public class Idle {
    public static void main(String[] args) throws Exception {
        Properties properties = new Properties();
        properties.put("mail.debug", "true");
        Session session = Session.getInstance(properties);
        Store store = session.getStore("imap");
        store.connect("127.0.0.1", Integer.parseInt(args[0]), args[1], args[2]);
        IMAPFolder inbox = (IMAPFolder) store.getFolder("INBOX");
        inbox.open(Folder.READ_ONLY);
        inbox.addMessageCountListener(new MessageCountAdapter() {
            @Override
            public void messagesAdded(MessageCountEvent event) {
                System.out.println("arrived");
            }
        });
        inbox.idle(true);
        inbox.close(false);
        store.close();
    }
}
